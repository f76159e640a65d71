// Package server is what clients talk to: doors, connections, the commands and the settings. Data is in package
// partition, the wire in package protocol.
//
// # Main types
//
//	Server    one node: New, Start, Shutdown
//	driver    moves bytes between connections and sessions: epoll loops on Linux, goroutines elsewhere
//	Session   one connection without its I/O: bytes in, bytes out
//	Call      one command under way: arguments, transaction, reply
//	Row       everything about one command, in one literal beside its handler
//	Config    what CONFIG GET and SET name
//	Router    the grid around the server: who has which partition, what is committed; a node that is alone has none
//	Upstream  a Router of a server that has no partitions itself
//	task      a command that is not executed where it was read
//	tracker   a session with CLIENT TRACKING: what it is to be told of
//
// # One request
//
//	socket -> epollConn.ready -> Session.Feed -> execute -> protocol.Reader.Parse
//	       -> dispatch   the row; arity, password, MULTI, memory
//	       -> Session.place     in a grid: here, on another node, or over several
//	       -> Call.call  lock the keys' partitions, admit, Row.Run, seal and unlock, confirm, account
//	       -> the reply, in the session's output, or in its queue behind one that is pending
//	       -> end of the loop's turn: Router.Flush in a grid; epollConn.settle writes
//
// In a grid its reply may have to wait, or the command to travel:
//
//	commit   place -> call -> awaitCommit -> closeGate: Router.Await  ......  gate.wait -> the loop: gate.finish -> Complete
//	forward  place -> send -> fly -> Router.Forward  ......................  the loop: landed -> arrive -> Complete
//	guest    Execute -> guestTask -> task.execute -> call -> Router.Await -> the answer
//	gather   place -> gather or walk -> spread -> task.run or attempt for each piece -> Join -> Complete
//	retry    what was refused: park -> runParked, one after the other -> task.run -> Complete
//
// What clients with near caches are told goes beside that:
//
//	read     command: asReader -> call: run -> trackReads
//	change   a transaction of whoever, under its lock: tracker.Invalidate -> notify  ......  the loop: deliverPosted -> push
//
// Everything of a session belongs to its loop; other goroutines post functions to it. A row with OffLoop runs on a
// goroutine of its own, and its session executes nothing until that has ended.
//
// # Files, in reading order
//
//	server.go       Options, New, Start, Shutdown; the clock; cron
//	listen.go       TCP and Unix sockets
//	driver.go       what drivers and sessions expect of each other
//	session.go      one connection: input, the queue of replies; session_limit.go its limits
//	ahead.go        what the commands of a pipeline will need is fetched from memory beforehand
//	dispatch.go     from a command line to its reply
//	router.go       what the server asks of the grid
//	route.go        where a command is executed: here, or as a task (route_task.go); route_travel.go the order of a session
//	route_exec.go   the same for transactions and watched keys
//	gather.go       commands over several slots, and over all keys, divided and joined
//	away.go         a server without partitions, in front of a grid: what a sidecar is
//	guest.go        what other nodes send to be executed here
//	admit.go        whether a command may be executed, and its reply be given
//	gate.go         replies wait for commits
//	written.go      what a session has written, and of what it is not known whether it is committed: WAIT asks
//	command.go      Row, its flags, the table of all
//	keyspec.go      where a command's keys stand; command_keys.go finds them
//	args.go         reading arguments
//	multi.go        MULTI, EXEC, WATCH
//	tracking.go     CLIENT TRACKING: what changes is gathered for those who have read it
//	relay.go        the same for what other nodes read for this one's clients; relay_owner.go what those do for it
//	cast.go         BCAST, over all nodes
//	origin.go       whose changes they are, for NOLOOP
//	push.go         and written to them, in its place
//	pause.go        CLIENT PAUSE
//	evict.go        what counts as used memory, and making room
//	stats.go        statistics and the slow log; latency.go LATENCY's events
//	config.go       settings; config_value.go kinds of values, config_table.go the names
//	category.go     ACL categories, from flags and groups
//	command_docs.go the syntax of rows, parsed
//
//	load_given.go   tokens of GRID.LOAD whose holder is gone are given back
//	cmd_*.go        the commands: rows and handlers, a file for each family
//	cluster_nodes.go the grid as the cluster door tells it; grid_info.go what INFO and HELLO tell at each door
//
//	epoll_linux.go  the epoll driver; epoll_loop_linux.go a loop's turn, epoll_conn_linux.go a connection,
//	                epoll_accept_linux.go accepting, epoll_syscall_linux.go system calls of the hot path
//	goroutine.go    the goroutine driver; goroutine_conn.go a connection; driver_other.go chooses it
//	mailbox.go      functions posted to a loop
//	attach.go       a server without sockets, on somebody else's time
//	system_unix.go  what the system knows of this process; version.go what we say we are
//	invariants.go   checks under the build tag invariants, which invariants_on.go and invariants_off.go tell
//
// testdata holds transcripts that must run the same here and on redis-server, and the lists of what is absent.
package server
