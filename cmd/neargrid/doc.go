// Command neargrid runs neargrid nodes. It is the only place that puts the packages together.
//
// A command line becomes a node in these steps: execute finds the command and parseInputs its flags, from the command
// line, the environment, a file and the defaults; runServer or runDev turn them into server.Options; runNode opens the
// data directory, starts the server and waits for a signal or SHUTDOWN; drain lets connections end. An error is one
// line that says what to do, and the exit code tells a wrong request (2) from one that failed (1).
//
//	main.go      the commands and their help
//	flags.go     a command's flags, and where their values come from
//	server.go    neargrid server: one node, from its flags to its last connection
//	dev.go       neargrid dev: a node to try things on
//	datadir.go   the data directory: the node's id and the lock
//	log.go       logs and the profiling listener
package main
