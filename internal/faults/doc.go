// Command faults does to a grid of real processes what happens to real grids, with clients outside that remember all they were told:
//
//	go run ./internal/faults                       everything, which takes about half an hour; writes docs/bench/faults.md
//	go run ./internal/faults -only kill -kills 30  one scenario, shorter
//
// The exit code is 1 where a target was missed, and 2 where nothing can be said. faults_test.go has a minute of it.
//
// A scenario starts a grid, and then, again and again: begins a load, does something to a node or to the network, waits until the grid is
// whole again, ends the load, and judges it:
//
//	startGrid -> startLoad, probe -> kill | freeze | stop | cut -> probes.await -> whole -> load.finish -> judge, verify
//
// What must hold after each fault, whatever it was:
//
//	every acknowledged write is there            keys that are written once, by one client, are read back: load.verify
//	what was refused was not executed (R14)      the same keys
//	what clients saw of a register is explained  load.operate records it, judge asks porcupine; so a read of what was lost later, or of
//	  by some order of what was done             what an old primary still had, is found
//	the grid keeps its promise again             grid.whole
//	errors are those that clients are to expect  tally, and scenario.may
//	a node that is not frozen answers within 5 s  slowReply, noReply
//	nobody waits for long                        probes, and the targets of a scenario
//
// Files, in reading order:
//
//	main.go       flags, and the run of scenarios
//	scenario.go   the table of them, with what is asked
//	grid.go       a grid of processes, as package testgrid has them
//	client.go     a client of a grid door or of cluster doors: one command, and what has become of it
//	load.go       clients that read and write meanwhile; history.go whether what they saw can be
//	probe.go      when each partition could be written to
//	kill.go       kill -9, of nodes, voters and the raft leader
//	freeze.go     SIGSTOP and SIGCONT
//	move.go       what is planned: rolling restarts, joining, draining
//	cut.go        the network is cut
//	small.go      two nodes, two and a witness, the loss of all copies
//	many.go       fifty nodes
//	findings.go   what a scenario has found; report.go against what was asked
package main
