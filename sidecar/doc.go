// Package sidecar puts a near cache beside programs in any language: a door on the loopback or a Unix socket that looks like one Redis,
// answers reads from its own memory where it holds them and may use them, and has everything else executed by the grid.
//
// docs/sidecar.md tells users more. What follows is for who reads the code.
//
// # The idea
//
// A sidecar is a server, as a node is, that has no partitions. Doors, event loops, sessions, the order of replies, MULTI, passwords,
// CLIENT TRACKING towards clients, limits, INFO and CONFIG are package server's. What is around the server is not the cluster but package
// client: it finds the nodes, keeps connections to them, and has the near cache with its leases and invalidations. This package joins the two:
// it is the server's Upstream.
//
//	client ......  server: session -> placeAway
//	                 held, and nothing of the session in its way   -> NearAnswer: on the event loop, without a wait or an allocation
//	                 a read that may be held                       -> Forward to NearNode: client.NearRead, on the near connection of its node
//	                 anything else with keys, or about all keys    -> Forward to a node: client.Begin, on a connection of all sessions
//	                 of the connection or the server itself        -> executed here
//
// # Main types
//
//	Sidecar   New, Start, Close; Forward and the other methods of server.Upstream
//	topology  the client's table as the server sees it
//	session   what is kept of a local client: on which connection its last commands went, and the one by which it watches
//	casts     the connection by which changes are told by prefixes: BCAST
//	answer    ends a forwarded command, once: by its replies, or when its time is over
//
// # What holds
//
//  1. An event loop never waits for the grid. What goes there is begun, and completed by another goroutine.
//  2. A session's commands on one partition are executed in their order. NearNode counts as a node of its own, and the server lets commands
//     on one partition be under way at one node at a time (travels); what is under way at a node goes by one connection, in
//     order, and what cannot follow by that connection is not sent (session.begin).
//  3. What goes past the near cache tells it so when it is sent and before its outcome is handed on (outside): so whoever is behind the
//     sidecar reads what was acknowledged to anybody behind it.
//  4. A client that tracks is noted as a reader before its read is looked up or sent. It is told when the grid says that the key has
//     changed, when a near connection ends or is told of a flush or a move (lost), and when a lease lapses (watchLapses);
//     at once, where what it has read came by a connection that is told of nothing. Leases are renewed while such clients hold anything.
//  5. A client that tracks by prefixes is told of all changes, or to drop everything; and nothing is answered from memory that is older than what
//     it has been told (casts).
//  6. A command is sent again only where it was not sent before, or only reads. Who waits gets an answer within 6 s.
//  7. The state of shared connections never changes between what is sent in one piece: each has a database and a protocol of its own
//     (client.Side). WATCH and its EXEC have a connection for themselves; where that is lost, EXEC executes nothing.
//
// Database 0 alone is held. Of replies that RESP3 and RESP2 shape differently, RESP2 clients get none from memory.
//
// # Files, in reading order
//
//	sidecar.go   Options, New, Start, Close; looking for the grid
//	doors.go     where the doors of the given addresses are
//	router.go    the table; sending commands
//	session.go   order, and WATCH
//	wait.go      WAIT
//	near.go      reads that may be held; what clients that track are told
//	cast.go      clients that track by prefixes
//	info.go      INFO's section
package sidecar
