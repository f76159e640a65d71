package main

import (
	"context"
	"slices"
	"time"
)

// scenario is one kind of fault, and what is asked of the grid in it.
type scenario struct {
	name, about string
	run         func(ctx context.Context, l *lab, f *findings) error
	targets     []target
	may         []string // what clients may see; nil: all that is allowed when nodes fail, and closed connections
}

// target bounds samples of a name; 0: not.
type target struct {
	sample   string
	p50, p99 time.Duration
}

// failing is what clients may see when nodes fail.
func failing() []string {
	may := []string{closedConnection}
	for word := range allowed {
		may = append(may, word)
	}
	slices.Sort(may)
	return may
}

// scenarios, in the order in which they are tried.
var scenarios = []scenario{
	{name: "kill", about: "kill -9 of nodes, voters and the raft leader in turn, 2 copies", run: killNodes, targets: outageTargets},
	{name: "kill-safe", about: "the same with 3 copies", run: killSafe, targets: outageTargets},
	{name: "quick-restart", about: "kill -9, and a new start before that is noticed", run: quickRestart},
	{name: "freeze", about: "SIGSTOP for 0.5 to 20 s, then SIGCONT", run: freezeNodes, may: append(failing(), noReplyFrozen)},
	{
		name: "rolling-restart", about: "SIGTERM and a new start, one node after the other", run: rollingRestart,
		targets: []target{{pauseHandover, 0, handoverTarget}}, may: []string{closedConnection},
	},
	{
		name: "join-drain", about: "a node joins, and one is drained", run: joinAndDrain,
		targets: []target{{pauseJoin, 0, handoverTarget}, {pauseDrain, 0, handoverTarget}}, may: []string{closedConnection},
	},
	{name: "cut", about: "the network between nodes is cut for 1 to 9 s; clients reach all of them", run: cutNetwork},
	{name: "two-nodes", about: "two nodes, of which one votes", run: twoNodes},
	{name: "two-and-witness", about: "two nodes and a witness; then the loss of all copies", run: twoAndWitness},
	{
		name: "fifty-nodes", about: "50 nodes, 200 clients, a minute of load, one node killed in the middle", run: fiftyNodes,
		targets: []target{{outageAny, 1500 * time.Millisecond, 2500 * time.Millisecond}},
	},
}
