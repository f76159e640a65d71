// Package testgrid is grids of real processes on this machine, and what is done to them: nodes are started, killed, frozen and stopped, and
// the network between them is cut. For programs that try what a grid does then: internal/faults and internal/oracle.
//
// # Main types
//
//	Grid     nodes; Whole and Voting wait until it is what it should be
//	Node     one node through all its starts: its addresses stay
//	Process  one start of a node, or of another program of ours
//	Network  network namespaces of this machine, one for each node, between which packets can be lost; needs the rights to make them
//
// # Files, in reading order
//
//	grid.go     Grid, Node, and what a grid tells of itself
//	process.go  Process
//	network.go  Network
//
//	parent_linux.go, parent_other.go   processes end with who has started them
package testgrid
