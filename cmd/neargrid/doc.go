// Command neargrid runs neargrid nodes. It is the only place that puts the packages together.
//
// A command line becomes a node in these steps: execute finds the command and parseInputs its flags, from the command
// line, the environment, a file and the defaults; runServer or runDev turn them into a nodePlan; startNode opens the
// data directory, becomes a member of a grid, makes the server and opens its doors; node.run waits for a signal or
// SHUTDOWN, hands over and lets connections end. An error is one line that says what to do, and the exit code tells a
// wrong request (2) from one that failed (1).
//
// The server and its node of the grid do not know each other: grid joins them.
//
//	server: Router    -> grid -> cluster.Node    where a command belongs, whether it may run, when it is committed
//	cluster: Executor -> grid -> server.Server   commands that other nodes send
//
//	main.go      the commands and their help
//	flags.go     a command's flags, and where their values come from
//	server.go    neargrid server: from flags to a plan
//	node.go      one node: from a plan to its last connection
//	grid.go      what joins server and cluster; admin.go what a person asks of the grid
//	dev.go       neargrid dev: a grid to try things on
//	status.go    neargrid status; drain.go and recover.go the commands of these names; recover_control.go what recover does about
//	             the control plane
//	sidecar.go   neargrid sidecar: from flags to a sidecar
//	load.go      neargrid load; load_plan.go from its flags to what is measured
//	client.go    asking a node as a client does
//	address.go   addresses that follow from others
//	signals.go   SIGTERM and SIGINT
//	datadir.go   the data directory: the node's id and the lock
//	log.go       logs and the profiling listener
package main
