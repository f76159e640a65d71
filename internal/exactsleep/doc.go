// Package exactsleep sleeps for microseconds. Go's own timers may be a millisecond late where all processors are idle, as they wait in
// epoll_wait, and the kernel prolongs sleeps of ordinary threads by 50 us. It is for tools that start things at exact times: the open loop
// of package loadtest, and internal/relay. Elsewhere than on Linux it is time.Sleep.
//
//	restore := exactsleep.OnThread()
//	defer restore()
//	exactsleep.Sleep(80 * time.Microsecond)
package exactsleep
