// Package cluster makes many nodes one grid: membership, the control plane, replication, movement. What it decides is
// decided in cluster/core, which is pure; here are the actors around that, with their goroutines, sockets and clocks.
//
// # The actors
//
//	Node          one start of a node: all of the following, joined
//	Membership    finds nodes and carries their tags, over Serf; it decides nothing
//	ControlPlane  raft, heartbeats, the table: joins or makes a grid, takes proposals to the leader, follows
//	Replicator    the node's copies: streams and beacons to peers, the store, replies that wait for commits
//	Forwarder     commands that another node is to execute: a stream to each, and serving theirs
//	Transport     the peer port
//
// A write, once a command has executed it on the primary's store:
//
//	Replicator.Sink -> replica.propose: core.Replica.Propose -> link.note: a copy has something to get
//	Replicator.Flush, after a batch of commands -> link.write: take, replica.pull  .........  the Data stream
//	backup: Replicator.serve -> take -> replica.event: OnAppend -> the store, once committed; the ack goes back
//	primary: link.readAcks -> replica.onAck: OnAck -> committed: who waits in Replicator.Await is told
//
// A command for another node:
//
//	Forwarder.Forward -> forwardLink.add -> write  ..........  the Forward stream: serve -> take -> Executor.Execute
//	forwardLink.readAnswers -> takeAnswers -> done  .........  forwardStream.flush <- Together <- answer
//
// A change of owners:
//
//	ControlPlane: the leader's core.Controller -> raft -> Table.Apply -> deltas to all nodes -> Node.takeTable
//	Node.takeTable -> Replicator.OnTable -> core.Replica.ApplyRow of each row -> the doors' OnTable
//	what a primary wants changed: core.Replica's Step.Propose -> ControlPlane.ProposeLater -> the leader
//
// A node's life, and a drain:
//
//	OpenNode: Transport, ControlPlane, Membership -> Start, with a store: Replicator, Forwarder -> HandOver -> Close
//	Drain -> the table's mark -> the plan moves everything -> replica.retire compares the copies -> controlLoop.leaves
//
// # The peer port
//
//	Transport  one port number, TCP and UDP, for everything between nodes
//	Conn       a stream to an authenticated peer
//	Network    what it is built on: Sockets, or a MemNetwork's host in tests
//
// A stream from one node to another:
//
//	Dial -> Network.Dial -> dialHandshake  .........  Accept -> acceptHandshake -> admit -> the handler of its kind
//
// Its first byte says what it is for: gossip (memberlist), raft, control, data, forward. Bytes after the handshake are the
// user's own; frames are in protocol/frame.go. Packets are sealed one by one, except gossip, which memberlist encrypts.
//
// # Files, in reading order
//
//	node.go                  Node: opening, the table's way to whoever follows it, closing
//	node_drain.go            handing over before a stop, drains, accepted losses
//	node_status.go           what a person is shown
//	replicate.go             Replicator: the table, time, beacons, waiting for commits
//	replica.go               one partition: the state machine and its data
//	link.go                  the Data stream to a peer, and serving one
//	link_write.go            what is written to it, by whom
//	verify.go                comparing copies before one is dropped by a drain
//	wire.go                  messages of replication as bytes
//	forward.go               Forwarder: commands for other nodes
//	forward_link.go          the Forward stream to a node: what waits, what was sent, what has become of it
//	forward_serve.go         serving one
//	forward_wire.go          its messages as bytes
//	control.go               ControlPlane
//	control_*.go             its loop, heartbeats, joining, proposals, streams, following the table, voters
//	voters.go                who is to vote
//	recover.go               another control plane is begun in place of one without a majority
//	generation.go            which control plane a node follows; control_generation.go going over to another
//	raft.go, raft_store.go   raft: the state machine, and its disk
//	raft_transport.go        entries for a voter that was away
//	encode.go                commands, tables and deltas as bytes
//	member.go                Membership; member_join.go finding the others, member_admit.go who is refused, member_events.go
//	                         what is told of changes, member_tags.go tags as they travel, member_log.go lines of Serf's log
//
//	transport.go             listen, dial, hand out by kind, close
//	transport_accept.go      streams that peers open
//	handshake.go             who is there: mutual authentication of a stream
//	secret.go                the keys that a shared secret becomes
//	packet.go                sealed packets
//	transport_memberlist.go  Serf's transport over the peer port
//	transport_raft.go        raft's stream layer over the peer port
//	transport_net.go         Network, and the system's
//	memtransport.go          a network in memory, for tests: cuts, delays, losses
//	mempipe.go               its connections
package cluster
