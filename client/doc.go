// Package client is the Go package that programs use to talk to a neargrid, a Redis or a Redis Cluster. It speaks RESP3, sends
// each command to the node that has its key, and, where it is asked to, keeps copies of what it reads in the program's own memory and
// knows when they may be used.
//
//	c, err := client.Connect(ctx, []string{"127.0.0.1:6379"}, client.Options{})
//	err = c.Set(ctx, "page:1", "<html>", time.Minute)
//	page, err := c.Get(ctx, "page:1")
//
// docs/client.md tells users more. What follows is for who reads the code.
//
// # Main types
//
//	Client     what Connect returns: the table, the nodes, the near cache
//	conn       one connection that goroutines share; call, what one of them waits for
//	node       a server: a shared connection for each lane, and a pool of exclusive ones
//	table      which node has which partition; one value is never changed
//	spec       what must be known of a command: where its keys stand, whether it may change anything
//	attempts   when a command is sent again, and when not any more
//	Pipeline   commands sent together; Multi makes a transaction of them, Session gives them a connection of their own
//	load       one loader of GetOrLoad, and who waits for it; turn, whose it is to load, as the grid says
//	near       joins package nearcache to connections; nearLink, what it rests on at one node; flight, one read that several wait for
//
// # One command
//
//	Get -> Do -> dispatch     the near cache has it, or is told what is sent past it
//	  -> route                alone; in pieces by node; to all nodes; on a connection of its own where it may block
//	  -> one                  until it is executed, or that cannot be known or waited for:
//	     choose               the slot's node, by the table
//	     lane.get             its connection, made now where there is none
//	     conn.enqueue         encoded into the buffer that all goroutines share, its call behind those of others
//	       conn.write         another goroutine: all that has gathered, in one write
//	       conn.read          a third: replies, each to the call that is first in the queue; pushes, as they come
//	     conn.wait            until then, or until the context ends: the place in the queue stays, its reply is dropped
//	       conn.lead          the same goroutine, where it calls alone: it has written by itself (writeLocked), and reads its reply
//	     redirect, settle, again   MOVED, ASK; what errors mean; the pause before the next attempt
//
// # What holds
//
//  1. A command is sent again only where a server said that it was not executed, or not a byte of it was handed to the
//     system, or it only reads. Anything else that went wrong with one that may change data is an IndeterminateError.
//  2. The calls of a connection are in the order of their bytes. enqueue does both under one lock.
//  3. A context that ends breaks no connection, but for exclusive ones: there the server must stop waiting.
//  4. Everything is bounded, and the bounds have names: options.go.
//  5. All goroutines are the client's (spawn), and Close waits for them.
//  6. One goroutine at a time reads a connection. Where nobody does, nothing is owed on it, and the next command looks whether it still
//     stands before a byte is written.
//
// and of the near cache, beside what package nearcache asks of its caller:
//
//  7. Near-cached reads, pushes and leases of a node come on one connection, laneNear, and are taken in their order by its goroutine, which
//     always reads: callers write there, and never read. When it fails, nearLink.close comes before any command learns of it.
//  8. The snapshot is taken before the request is sent, of a table that is the same before and after; a flight is joined
//     only while its snapshot is current.
//  9. What goes past the near cache tells it so, when it is sent if it may change something, and in any case before its outcome is
//     handed on: dispatch, Pipeline.Exec, Session.Do, Outside.
//
// # Files, in reading order
//
//	options.go      Options, and all bounds
//	client.go       Connect, Close
//	run.go          a command's way; typed.go and cmd_*.go the methods for common commands
//	command.go      what is known of commands
//	conn.go         a connection that goroutines share; call.go what one of them waits for
//	conn_write.go   who writes on it; conn_read.go who reads, and how callers take turns with its goroutine; conn_socket*.go without waiting
//	node.go         lanes; exclusive.go connections of one's own
//	table.go        tables, as servers tell them; refresh.go asking for them, and looking after connections; slot.go
//	split.go        commands over many nodes
//	pipeline.go     pipelines; multi.go transactions and watches
//	load.go         GetOrLoad; load_turn.go one loader for the whole grid
//	near.go         the near cache; near_fetch.go a read that fills it; near_link.go the connection it rests on; near_table.go
//	                partitions and nodes; near_clock.go the clock; outside.go for other clients in the same program
//	async.go        for programs that pass on others' commands; near_watch.go the same for near reads, and what the servers say of them;
//	                cast.go all changes to keys with some prefixes
//	reply.go        replies; error.go errors
//
// Package goredis, below, is an adapter for programs that use go-redis.
package client
