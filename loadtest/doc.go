// Package loadtest measures servers that speak the Redis protocol under load: how many operations a second they answer, and how
// long each takes. `neargrid load` is its command line, docs/load.md its manual; internal/bench measures with it too.
//
// Ideas:
//
//   - An open loop starts operations when they are due, by a schedule that does not know how fast the server answers, and latency
//     counts from the time at which an operation was due. So a server that stalls is charged for all that it delays: what was
//     sent, what had to wait because as many as may be are under way, and what was not even sent when the run ended. Nothing is
//     left out where it matters most (coordinated omission).
//   - A closed loop keeps a number of operations under way for each client. It tells what a server can do, not what users would
//     see.
//   - The sequence of operations follows from the seed alone. One source makes it, and whoever needs an operation takes the next
//     one.
//   - The generator measures itself. Where it, and not the server, was what limited the run, the report says so.
//
// The path of an operation: a pacer (open loop) or a driver's refill (closed loop) takes it from the source and gives it to a
// Client. The client of RESP encodes it into the buffer of a lane, a connection; flush writes the buffer. The lane's reader takes
// the reply, judges it, and either takes the operation's next step (the write of a read-modify-write, a read-through's fill, a
// redirection) or tells the driver that it is Done. The driver records it: in histograms that are collected once a second, into a
// row of the series and the total. When the reader has no more replies, it tells its driver that it is its Turn, and a closed
// loop starts as many operations as have ended.
//
// Whoever has something to send writes by itself as long as little is unanswered, so that an operation costs no change of
// goroutine. With much unanswered a goroutine of its own writes, for a server may read nothing while its replies are not taken.
//
// Invariants: every operation that is started is Done once, also when its connection breaks or the run ends before its answer.
// Per client at most Depth (closed loop) or InFlight (open loop) operations are under way; what waits beyond is counted. A run
// ends at most drainMax after its time.
//
// Files, in reading order:
//
//	workload.go  what is asked of a server, and the source of its operations
//	op.go        operations and how they end
//	keys.go      which records; zipf.go how often; trace.go recorded sequences; sizes.go how large values are
//	run.go       Run: Target, Client, Events, and the drivers of a closed loop
//	pace.go      the pacers of an open loop
//	record.go    results as they come; measured.go what a run gave
//	generator.go what a run knows of itself; cpu_unix.go and cpu_other.go its use of the processors
//	resp.go      the target that speaks the Redis protocol; target.go how it is named
//	lane.go      one connection; command.go and value.go what is sent; reply.go what comes
//	near.go      the target through package client, with a near cache
//	cluster.go   who owns which slot
//	compare.go   several targets in turn
//	report.go    the report, as JSON; text.go for a terminal; html.go, report.html and chart.go as a page
package loadtest
