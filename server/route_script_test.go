package server

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// gridPlayer plays a script on a grid. Its lines:
//
//	[a] > SET a 1 | GET b   what a client of node a sends, at once; [a2] another client, [a!] one of the cluster door
//	[a] close               the client goes away
//	OK                      what came of the step, reply by reply, by the names of the clients; the end ... stands for anything
//
//	move KEY NODE           a key's partition, with its data, goes to a node; nobody knows yet. "move! ..." has all know
//	lose KEY                a key's partition is lost; nobody knows yet
//	backups KEY N           it has so many backups; nobody knows yet
//	see [NODE]              a node, or all, know how it is
//	lapse NODE KEY N        a node's lease on a partition ends once it has been asked for so often; "lapse NODE KEY no" gives it back
//	blip NODE KEY N         the next so many times that it is asked, it has no lease
//	renew NODE KEY N        after so many times that it is asked, it has the lease in a new reign
//	readonly KEY            too few copies are in sync to write, nor does anything expire; "writable KEY" the opposite
//	gate NODE               from now on nothing is committed; "commit NODE", "uncommit NODE": what waits is, or nobody knows
//
//	hold A>B                commands from a node to another do not arrive; release A>B
//	hold-answers A>B        their answers; answers A>B [PLACE ...]: some are given, in that order, or all and those to come
//	full|lose|lose-answer A>B   befalls the next command that has no fate yet
//	pass 5ms                time passes
//
//	executed A>B            what the other node has executed since the script last asked; printed line by line
//	watched NODE            how many keys are held
type gridPlayer struct {
	*testGrid
	clients map[string]*client
	lines   []string // output of the step that is not of clients
}

func playGrid(t *testing.T, script string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		(&gridPlayer{testGrid: newTestGrid(t, nil), clients: map[string]*client{}}).play(script)
	})
}

func (g *gridPlayer) play(script string) {
	g.t.Helper()
	var lines []string
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines = append(lines, line)
		}
	}
	for at := 0; at < len(lines); {
		step := lines[at]
		if !isGridStep(step) {
			g.t.Fatalf("%q is no step", step)
		}
		g.lines = nil
		g.step(step)
		g.settle()
		at++
		want := at
		for at < len(lines) && !isGridStep(lines[at]) {
			at++
		}
		got := append(g.lines, g.replies()...)
		if !slices.EqualFunc(got, lines[want:at], gridFits) {
			g.t.Fatalf("after %q:\ngot\n\t%s\nwant\n\t%s", step, strings.Join(got, "\n\t"), strings.Join(lines[want:at], "\n\t"))
		}
	}
}

func gridFits(got, want string) bool {
	if start, open := strings.CutSuffix(want, "..."); open {
		return strings.HasPrefix(got, start)
	}
	return got == want
}

var gridWords = []string{"move", "move!", "lose", "backups", "see", "lapse", "blip", "renew", "readonly", "writable",
	"gate", "commit", "uncommit", "hold", "release", "hold-answers", "answers", "full", "lose-answer", "pass", "executed", "watched"}

func isGridStep(line string) bool {
	_, rest := splitName(line)
	word, _, _ := strings.Cut(rest, " ")
	return word == ">" || rest == "close" || slices.Contains(gridWords, word)
}

func (g *gridPlayer) client(name string) *client {
	if g.clients[name] == nil {
		srv := g.nodes[NodeID(name[:1])].server
		if strings.HasSuffix(name, "!") {
			g.clients[name] = srv.connectCluster()
		} else {
			g.clients[name] = srv.connect()
		}
	}
	return g.clients[name]
}

func (g *gridPlayer) step(line string) {
	name, rest := splitName(line)
	if commands, ok := strings.CutPrefix(rest, "> "); ok {
		var input []byte
		for command := range strings.SplitSeq(commands, " | ") {
			args, err := testredis.Split(command)
			if err != nil {
				g.t.Fatal(err)
			}
			input = protocol.AppendCommand(input, args...)
		}
		g.client(name).feed(input)
		return
	}
	if rest == "close" {
		g.client(name).session.Closed()
		return
	}
	words := strings.Fields(rest)
	word, words := words[0], words[1:]
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	if from, to, isLink := strings.Cut(arg(0), ">"); isLink {
		g.stepLink(word, g.links[[2]NodeID{NodeID(from), NodeID(to)}], words[1:])
		return
	}
	part := func(key string) int { return partition.Slot([]byte(key)) * gridPartitions / partition.Slots }
	switch word {
	case "move", "move!":
		g.move(part(arg(0)), NodeID(arg(1)))
		if word == "move!" {
			g.see()
		}
	case "lose":
		g.change(part(arg(0)), func(p *gridPart) { p.owner = "" })
	case "backups":
		g.change(part(arg(0)), func(p *gridPart) { p.backups, _ = strconv.Atoi(arg(1)) })
	case "see":
		var ids []NodeID
		for _, w := range words {
			ids = append(ids, NodeID(w))
		}
		g.see(ids...)
	case "lapse":
		after, err := strconv.Atoi(arg(2))
		l := &gridLapse{after: after, times: -1}
		if err != nil {
			l = nil
		}
		g.nodes[NodeID(arg(0))].lapse(part(arg(1)), l)
	case "blip", "renew":
		count, _ := strconv.Atoi(arg(2))
		l := &gridLapse{times: count}
		if word == "renew" {
			l = &gridLapse{after: count, anew: true}
		}
		g.nodes[NodeID(arg(0))].lapse(part(arg(1)), l)
	case "readonly", "writable":
		p := part(arg(0))
		for _, n := range g.nodes {
			n.setWritable(p, word == "writable")
			n.server.store.Partition(p).SetActive(word == "writable" && n.id == g.mu.parts[p].owner)
		}
	case "gate":
		g.nodes[NodeID(arg(0))].hold()
	case "commit":
		g.nodes[NodeID(arg(0))].release(nil)
	case "uncommit":
		g.nodes[NodeID(arg(0))].release(fmt.Errorf("not known"))
	case "pass":
		d, err := time.ParseDuration(arg(0))
		if err != nil {
			g.t.Fatal(err)
		}
		g.pass(d)
	case "watched":
		g.lines = append(g.lines, strconv.Itoa(g.nodes[NodeID(arg(0))].watched()))
	}
}

func (g *gridPlayer) stepLink(word string, l *gridLink, words []string) {
	switch word {
	case "hold":
		l.hold()
	case "release":
		l.release()
	case "hold-answers":
		l.holdAnswers()
	case "answers":
		var places []int
		for _, w := range words {
			i, _ := strconv.Atoi(w)
			places = append(places, i)
		}
		l.releaseAnswers(places...)
	case "executed":
		l.mu.Lock()
		g.lines, l.mu.executed = append(g.lines, l.mu.executed...), nil
		l.mu.Unlock()
	default:
		if !slices.Contains(gridFaults, word) {
			g.t.Fatalf("%s does not befall a command", word)
		}
		l.mu.Lock()
		l.mu.faults = append(l.mu.faults, word)
		l.mu.Unlock()
	}
}

// replies takes what the clients have been sent.
func (g *gridPlayer) replies() (lines []string) {
	var names []string
	for name := range g.clients {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c := g.clients[name]
		for r := newReader(c.out); ; {
			if _, err := r.Peek(1); err != nil {
				break
			}
			v, err := testredis.Read(r)
			if err != nil {
				g.t.Fatalf("%s got %q: %v", name, c.out, err)
			}
			lines = append(lines, "["+name+"] "+shortReply(v))
		}
		c.out = c.out[:0]
	}
	return lines
}

func newReader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

// shortReply is a reply in one line.
func shortReply(v testredis.Value) string {
	switch {
	case v.IsNull():
		return "nil"
	case v.IsError():
		return "-" + v.Text
	case v.IsAggregate():
		var elements []string
		for _, e := range v.Elems {
			elements = append(elements, shortReply(e))
		}
		return "[" + strings.Join(elements, " ") + "]"
	case v.Kind == testredis.Integer:
		return ":" + v.Text
	case v.Kind == testredis.Bulk:
		return strconv.Quote(v.Text)
	}
	return v.Text
}
