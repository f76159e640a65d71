package server

import "log/slog"

func init() {
	for name, loops := range map[string]int{"epoll": 1, "epoll, 3 loops": 3} {
		driverMakers[name] = func(ls *listeners, a acceptor) (driver, error) {
			return newEpollDriver(loops, ls, a, func() int { return 300 }, slog.New(slog.DiscardHandler))
		}
	}
}
