// Package relay puts a longer way between a client and a server on one machine: a proxy that hands on what it is sent a fixed time
// later, in both directions, however much it is. Many kernels lack netem, which would do the same.
//
//	r, err := relay.Start("127.0.0.1:6379")
//	defer r.Close()
//	r.SetDelay(100 * time.Microsecond)                       // each way, from now on
//	c, err := client.Connect(ctx, addrs, client.Options{Dial: r.Dial})
//
// What a byte waits is the delay and what the relay itself takes: some tens of microseconds, for each way wakes two threads. So who wants
// a certain round trip measures it (RoundTrip), and sets a delay that is shorter by as much (Calibrate).
//
// A relay may also become a black hole (Swallow), and packets, of UDP, have one of their own, which is nothing else (Packets).
//
// One direction of a connection is a reader, which notes when each piece came, a queue, and a writer, which waits until a piece has waited
// long enough. So pieces wait side by side, and throughput is what it is without a delay until queueMax of them wait.
package relay
