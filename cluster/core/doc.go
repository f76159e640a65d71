// Package core decides what a grid of nodes does: who owns a partition, when a write is committed, who is dead, where copies go.
// It is pure. There is no socket, goroutine, channel, clock or random number in it: events go in as method calls, with the time;
// what is to be done comes out as values; actors elsewhere do it. So one seed replays a whole simulated grid.
//
// # Main types
//
//	Table       what the control plane agrees on: settings, nodes, and a Row for each partition
//	Command     a change of the table, as an entry of raft's log; Table.Apply
//	Replica     one node's part in one partition: primary, backup or learner
//	Leases      one node's leases and promises towards its peers
//	Controller  the decisions of the control plane's leader
//	Plan        from a table, the next changes of where copies are
//
// # A write
//
//	the primary executes, and calls Replica.Propose     -> Step.Ready names the copies that Pull has a message for
//	a backup gets it: OnAppend                          -> Step.Answer; it applies only what is committed
//	the primary gets the answer: OnAck                  -> Step.Committed: replies that waited for it may leave
//
// Committed is what every member of the ISR (the in-sync replicas) holds. Whoever takes over is one of them, so it has every
// committed batch. Backups show nothing else: what a successor does not have is cut from a buffer, and no data is rolled back.
//
// # Who serves
//
// A primary serves while its leases last: each member of the ISR grants one by answering beacons, timed from their sending. A
// member that is made the primary waits until what it has granted has run out. So two never serve at once, however late or lost
// messages are; only the rates of clocks are taken on trust, to 2 %.
//
// # Names of times
//
//	epoch  every change of a row
//	reign  the epochs from one change of primary to the next: log entries carry it, and messages are good within it
//	stint  the epochs in which a member is one of the copies without a break: what it says about itself is good within it
//	born   the epoch in which the data began, empty
//
// # Files, in reading order
//
//	table.go    the table; generation.go the first one of another control plane
//	state.go    commands, and what they do to it
//	message.go  what replicas say to each other
//	replica.go  Replica: rows, proposing, serving, committing
//	primary.go  a primary and its copies: sending, catching up, the ISR, handover
//	backup.go   a backup or learner: entries, chunks of a walk
//	log.go      the entries that are kept in memory
//	lease.go    beacons, leases, promises
//	control.go  who is dead, what is lost
//	plan.go     where copies should be, and plan_moves.go the next steps; ring.go the order of candidates, spread.go the best spread
//	marks.go    which branches a simulation has reached
//
// The rules have numbers, R1 to R34; docs/REPLICATION.md has them, as they are carried out here. sim_test.go is the
// simulation, sim_near_test.go the same with near caches: there tests import server, partition and nearcache. internal/mutants plants the
// bugs that they must find.
package core
