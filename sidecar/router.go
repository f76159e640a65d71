package sidecar

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
	"github.com/neargrid/neargrid/server"
)

// What the server asks of the grid around it: package client answers.

// answerSlack is for how much longer than the command's time a node's answer is waited for: a node that cannot have it executed says so at
// the end of that time.
const answerSlack = time.Second

// topology is the client's table as the server sees it.
type topology struct {
	of  *client.Owners
	top *server.Topology
}

// Topology is the newest table.
func (s *Sidecar) Topology() *server.Topology {
	c := s.grid.Load()
	if c == nil {
		return &noGrid
	}
	of := c.Owners()
	if t := s.top.Load(); t != nil && t.of == of {
		return t.top
	}
	t := &topology{of, topologyOf(of)}
	s.top.Store(t)
	return t.top
}

// noGrid has nobody who leads anything: commands are told to wait before they look.
var noGrid = server.Topology{Parts: make([]server.Assignment, partitions), DataNodes: 1}

func topologyOf(of *client.Owners) *server.Topology {
	top := &server.Topology{Parts: make([]server.Assignment, partitions), DataNodes: len(of.Nodes)}
	for _, addr := range of.Nodes {
		top.Nodes = append(top.Nodes, server.GridNode{ID: server.NodeID(addr), Client: addr})
	}
	for i := range top.Parts {
		addr := of.Parts[i*len(of.Parts)/partitions]
		if addr == "" { // nobody at present: a node that forwards will know, or say so
			addr = of.Nodes[i%len(of.Nodes)]
		}
		top.Parts[i].Primary = server.NodeID(addr)
	}
	slices.SortFunc(top.Nodes, func(a, b server.GridNode) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return top
}

// Any is a node for commands that any will do for.
func (s *Sidecar) Any() server.NodeID {
	top := s.Topology()
	if len(top.Nodes) == 0 {
		return "none"
	}
	return top.Nodes[rand.IntN(len(top.Nodes))].ID
}

// The sidecar has no partitions and executes nothing itself.

func (s *Sidecar) Serves(int, time.Duration) (uint64, bool)     { return 0, false }
func (s *Sidecar) ServesUntil(int, time.Duration) time.Duration { return 0 }
func (s *Sidecar) Writable(int) bool                            { return false }
func (s *Sidecar) Await([]server.Rest, func(error)) bool        { return true }
func (s *Sidecar) Committed([]server.Rest) bool                 { return true }
func (s *Sidecar) Flush()                                       {}

// Waiting and Away are what commands are told without a grid.
func (s *Sidecar) Waiting() string {
	if text := s.waiting.Load(); text != nil {
		return *text
	}
	return ""
}

func (s *Sidecar) Away() string {
	return "CLUSTERDOWN The sidecar has no node that executes this at present; it goes on trying " + list(s.nodes())
}

// nodes are the addresses of the grid's nodes, as far as they are known.
func (s *Sidecar) nodes() []string {
	if c := s.grid.Load(); c != nil {
		return c.Nodes()
	}
	return s.options.Join
}

// Forward has a node execute a command.
func (s *Sidecar) Forward(to server.NodeID, f *server.Forwarded, done func(server.Answer)) {
	c := s.grid.Load()
	switch {
	case c == nil:
		done(server.Answer{Outcome: server.NotExecuted})
	case to == server.NearNode:
		s.readNear(c, f, done)
	case f.Kind == server.ForwardCommand && strings.EqualFold(string(f.Args[0]), "WAIT"):
		s.waitFor(c, to, f, done)
	case f.Kind == server.ForwardExec:
		s.exec(c, to, f, done)
	case f.Kind == server.ForwardWatch:
		if of := s.session(f.Session); of != nil {
			of.watch(s, c, to, f, done)
			return
		}
		done(server.Answer{Outcome: server.NotExecuted})
	default:
		s.send(c, to, f, [][]string{words(f.Args)}, done)
	}
}

// send sends command lines in one piece; the last reply is the answer.
func (s *Sidecar) send(c *client.Client, to server.NodeID, f *server.Forwarded, lines [][]string, done func(server.Answer)) {
	one := newAnswer(f, outside(c, lines), done)
	side := client.Side{DB: f.DB, Resp: f.Resp}
	one.late = s.srv.Late(f)
	lines, one.behind = restored(f, named(f, lines))
	var err error
	if of := s.session(f.Session); of == nil {
		_, err = c.Begin(string(to), side, 0, lines, one.replies)
	} else {
		err = of.begin(c, string(to), side, f.First, lines, one.replies)
	}
	if err != nil {
		one.end(server.Answer{Outcome: server.NotExecuted})
	}
}

// named says for whom command lines are, where that client wants to hear of no changes of its own: for the next command, or a transaction.
func named(f *server.Forwarded, lines [][]string) [][]string {
	if f.By == [2]uint64{} {
		return lines
	}
	origin := []string{"GRID.ORIGIN", strconv.FormatUint(f.By[0], 10), strconv.FormatUint(f.By[1], 10)}
	return append([][]string{origin}, lines...)
}

// restored puts behind a transaction that changes the connection's database what sets it back, in the same piece: others send on it too.
func restored(f *server.Forwarded, lines [][]string) (all [][]string, behind int) {
	if !slices.ContainsFunc(lines, func(line []string) bool { return strings.EqualFold(line[0], "SELECT") }) {
		return lines, 0
	}
	return append(lines, []string{"SELECT", itoa(f.DB)}), 1
}

// outside tells the near cache what goes past it, and returns what is to be called before the outcome is handed on.
func outside(c *client.Client, lines [][]string) func() {
	if len(lines) == 1 {
		return c.Outside(lines[0]...)
	}
	var all []func()
	for _, line := range lines {
		all = append(all, c.Outside(line...))
	}
	return func() {
		for _, done := range all {
			done()
		}
	}
}

// answer is given once: by the replies, or when the time is over.
type answer struct {
	once    sync.Once
	behind  int // replies behind the one that is the answer
	outside func()
	done    func(server.Answer)
	late    func(reply []byte) // is called with an answer that comes when its time is over; nil: nobody is
	timer   *time.Timer
}

func newAnswer(f *server.Forwarded, outside func(), done func(server.Answer)) *answer {
	a := &answer{outside: outside, done: done}
	a.timer = time.AfterFunc(f.Timeout+answerSlack, func() { a.end(server.Answer{Outcome: server.Unknown}) })
	return a
}

// end gives the answer. It returns false where another was given before.
func (a *answer) end(with server.Answer) (given bool) {
	a.once.Do(func() {
		given = true
		a.timer.Stop()
		a.outside()
		a.done(with)
	})
	return given
}

// replies is what package client calls.
func (a *answer) replies(replies []protocol.Value, err error) {
	if err != nil {
		a.end(server.Answer{Outcome: outcomeOf(err)})
		return
	}
	last := replies[len(replies)-1-a.behind]
	if isMoved(last) {
		a.end(server.Answer{Outcome: server.NotExecuted})
		return
	}
	reply := protocol.AppendValue(nil, last)
	if !a.end(server.Answer{Outcome: server.Executed, Reply: reply}) && a.late != nil {
		a.late(reply)
	}
}

// isMoved: a cluster door says that the table is old. Grid doors do not.
func isMoved(v protocol.Value) bool {
	return v.IsError() && (strings.HasPrefix(string(v.Str), "MOVED ") || strings.HasPrefix(string(v.Str), "ASK "))
}

// outcomeOf tells what has become of a command whose connection was lost.
func outcomeOf(err error) server.Outcome {
	var e *client.ConnError
	if errors.As(err, &e) && e.Sent {
		return server.Unknown
	}
	return server.NotExecuted
}

// exec sends a transaction: in one piece on a connection of all, or on that of the session's watches.
func (s *Sidecar) exec(c *client.Client, to server.NodeID, f *server.Forwarded, done func(server.Answer)) {
	commands, watches, ok := s.srv.ExecLines(f)
	if !ok {
		done(server.Answer{Outcome: server.Executed, Reply: errorReply("ERR The transaction cannot be executed by a node")})
		return
	}
	lines := make([][]string, len(commands))
	for i, command := range commands {
		lines[i] = words(command)
	}
	if watches {
		s.session(f.Session).exec(c, f, lines, done)
		return
	}
	s.send(c, to, f, lines, done)
}

// Admin is for GRID.STATUS and its like, which a node answers, and for INFO.
func (s *Sidecar) Admin(args []string) (string, error) {
	c := s.grid.Load()
	switch {
	case args[0] == "info":
		return s.info(c), nil
	case c == nil:
		return "", errors.New(s.Waiting())
	case len(args) < 2 && args[0] != "status":
		return "", fmt.Errorf("this is a sidecar: name a node, or ask one")
	}
	ctx, cancel := context.WithTimeout(s.ctx, adminTimeout)
	defer cancel()
	reply, err := c.Do(ctx, append([]string{"GRID." + strings.ToUpper(args[0])}, args[1:]...)...)
	if err != nil {
		return "", err
	}
	return reply.Text()
}

// adminTimeout bounds a command of a person about the grid.
const adminTimeout = time.Minute

func errorReply(text string) []byte {
	var w protocol.Writer
	w.Error(oneLine(text))
	return w.Buf
}

// The server's partitions are equal ranges of slots.
var _ = [1]struct{}{}[partition.Slots%partitions]
