// Command oracle asks whether near caches keep their promise while everything goes wrong that may:
//
//	go run ./internal/oracle                            1,000 faults in three grids, a quarter of an hour; writes docs/bench/oracle.md
//	go run ./internal/oracle -faults 50 -only 'frozen'  some of them, shorter
//
// The exit code is 1 where a read was wrong or fewer were judged than wanted, and 2 where nothing can be said. oracle_test.go has each
// fault once.
//
// # The idea
//
// Writers stamp values with a sequence. All who write and read are in this process and have one clock, so it is known of each write from
// when to when it took effect. Each key has one writer, which waits for the outcome of a write before the next: so sequences are in the
// order of effects. A read that began at t0, ended at t1 and returned the state s is wrong if
//
//	G1     a later state was acknowledged before t0 - L: s was over for certain by then
//	G2     its client had seen, or written with an acknowledgement, something behind s before t0
//	       nobody wrote s, or who wrote it was told that it was not executed
//
// "It is not there" is a state like others: before the first write, and after FLUSHALL, expiry or eviction, until the next write. That an
// eviction took place is known by a reader without a near cache, which is held to L = 0: what it has not found counts as a removal.
//
// A write of unknown outcome may take effect at any time later. So to read its value is never wrong, nor is any value over because of
// it; but who has seen it has seen it.
//
// # What is counted
//
// Near hits are told by each near cache itself. "Of hot keys" are those of keys that were written within the last 2 L: hits less all reads of
// other keys, which is the least that it may be.
//
// # One fault
//
//	runArena -> open: grid, readers; run: writers, readers
//	         -> round: totals, fault.run, L more, totals
//	meanwhile  write: history.begin -> reader.set -> history.end
//	           read:  viewer.begin -> reader.pass -> look.end, which judges
//
// # Files, in reading order
//
//	main.go     flags
//	run.go      plans and rounds, and what they have counted
//	fault.go    the table of faults; arena.go a grid and all who use it
//	history.go  what was done to a key; judge.go whether a read can be; tally.go counts and violations
//	reader.go   kinds of clients; sidecar.go the one in a process of its own
//	hole.go     connections into which what is sent falls
//	report.go   the report
package main
