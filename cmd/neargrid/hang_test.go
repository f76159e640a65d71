package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/relay"
	"github.com/neargrid/neargrid/internal/testgrid"
	"github.com/neargrid/neargrid/protocol"
)

// answerMax is how long an operation may take whatever is broken (R14), and what a busy machine may add to it.
const answerMax = 5*time.Second + 500*time.Millisecond

// talks are what clients send, one command after the other on a connection of their own; KEY is one of several keys, of all nodes.
var talks = []string{
	"GET KEY", "SET KEY v", "INCR n{KEY}", "EXPIRE KEY 100", "SET KEY v GET", "MSET KEY v KEYb v", "EVAL 'return 1' 0",
	"MULTI | SET KEY v | GET KEY | EXEC", "WATCH KEY | MULTI | SET KEY v | EXEC", "WATCH KEY | UNWATCH",
	"SET KEY v | WAIT 1 0", "CLIENT REPLY SKIP | SET KEY v | WAIT 1 0",
}

// wideTalks are the same for what is about no single key.
var wideTalks = []string{
	"MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8", "MGET a b c d e f g h", "DEL a b c d e f g h", "UNLINK a b c d e f g h", "EXISTS a b c d e f g h",
	"TOUCH a b c d e f g h", "KEYS *", "SCAN 0 COUNT 1000", "DBSIZE", "RANDOMKEY", "FLUSHALL", "FLUSHDB", "WAIT 1 0", "WAIT 1 100",
	"MULTI | DBSIZE | EXEC", "SWAPDB 0 1",
	"CLUSTER INFO", "CLUSTER NODES", "CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER MYID", "CLUSTER LINKS", "CLUSTER KEYSLOT a",
	"CLUSTER COUNTKEYSINSLOT 1", "CLUSTER GETKEYSINSLOT 1 10", "CLUSTER REPLICAS 0123456789012345678901234567890123456789",
	"GRID.STATUS", "GRID.TABLE", "GRID.TABLE BACKUPS", "GRID.DRAIN", "GRID.UNDRAIN", "GRID.RECOVER lost",
	"INFO", "INFO everything", "PING", "HELLO 3", "CLIENT LIST", "COMMAND COUNT", "CONFIG GET maxmemory", "MEMORY USAGE a", "TIME",
}

// TestNothingHangs freezes two of three nodes: what is left is no majority, and holds copies that are not in sync with anybody. Whatever a
// client asks of the third, at any of its doors, is answered within 5 s (R14), with a value or an error that has a name: at once after the
// freeze, while leases run, and when the node knows.
func TestNothingHangs(t *testing.T) {
	g := newTestGrid(t, "--partitions", "8")
	a := g.start("a")
	b, c := g.start("b"), g.start("c")
	nothingHangs(t, c, func() error {
		return errors.Join(a.cmd.Process.Signal(syscall.SIGSTOP), b.cmd.Process.Signal(syscall.SIGSTOP))
	})
}

// TestNothingHangsInBlackHole is the same with a majority that goes on, and of which nothing arrives any more: nobody's system says that
// anything is refused or closed. Once by relays between the nodes, which take connections and swallow what comes, and where this machine
// allows it by network namespaces, in which nothing is taken either.
func TestNothingHangsInBlackHole(t *testing.T) {
	t.Run("relays", func(t *testing.T) {
		g := newTestGrid(t, "--partitions", "8")
		var holes []*hole
		for _, name := range []string{"a", "b", "c"} {
			h := newHole(t)
			holes = append(holes, h)
			g.start(name, "--peer-listen", h.target, "--advertise", h.host)
		}
		nothingHangs(t, g.nodes["c"], func() error {
			for _, h := range holes {
				h.swallow()
			}
			return nil
		})
	})
	t.Run("namespaces", func(t *testing.T) {
		network, err := testgrid.OpenNetwork()
		if errors.Is(err, testgrid.ErrLeftOut) {
			t.Skipf("the relays alone have been tried: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(network.Close)
		g := newTestGrid(t, "--partitions", "8", "--insecure")
		for i, name := range []string{"a", "b", "c"} {
			if err := network.Add(i + 1); err != nil {
				t.Fatal(err)
			}
			g.within = network.Prefix(i + 1)
			g.start(name, "--listen", network.Host(i+1)+":6379")
		}
		nothingHangs(t, g.nodes["c"], func() (err error) {
			for _, way := range [][2]int{{1, 3}, {2, 3}, {3, 1}, {3, 2}} {
				err = errors.Join(err, network.Cut(way[0], way[1]))
			}
			return err
		})
	})
}

// hole is a relay before a node's peer port, at another address of this machine with the same port number, which the node tells others.
type hole struct {
	host, target string // of the relay; of the peer port
	streams      *relay.Relay
	packets      *relay.Packets
}

// holeHosts are addresses of this machine's own, besides 127.0.0.1: Linux has the first, most others the second.
var holeHosts = []string{"127.0.0.2", "::1"}

func newHole(t *testing.T) *hole {
	t.Helper()
	const tries = 50
	var err error
	for i := range tries {
		h := &hole{host: holeHosts[i%len(holeHosts)]}
		if err = h.open(); err == nil {
			t.Cleanup(h.close)
			return h
		}
		h.close()
	}
	t.Fatalf("no relay before a peer port can be had: %v", err)
	return nil
}

// open finds a port that is free for streams and packets, at both addresses.
func (h *hole) open() (err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer free.Close()
	h.target = free.Addr().String()
	freePackets, err := net.ListenPacket("udp", h.target)
	if err != nil {
		return err
	}
	defer freePackets.Close()
	_, port, _ := net.SplitHostPort(h.target)
	if h.streams, err = relay.StartAt(net.JoinHostPort(h.host, port), h.target); err != nil {
		return err
	}
	h.packets, err = relay.StartPackets(net.JoinHostPort(h.host, port), h.target)
	return err
}

func (h *hole) swallow() {
	h.streams.Swallow()
	h.packets.Swallow()
}

func (h *hole) close() {
	if h.streams != nil {
		h.streams.Close()
	}
	if h.packets != nil {
		h.packets.Close()
	}
}

// clusterDoor is where a node listens for clients of a cluster, which may be told another host.
func (n *process) clusterDoor() string {
	n.t.Helper()
	for _, m := range n.status().Members {
		if string(m.ID) == n.id() && m.Cluster != "" {
			host, _, _ := net.SplitHostPort(n.addr)
			_, port, _ := net.SplitHostPort(m.Cluster)
			return net.JoinHostPort(host, port)
		}
	}
	n.t.Fatalf("%s has no door for clients of a cluster", n.addr)
	return ""
}

// nothingHangs breaks a grid of three, of which c is left without a majority, and tries all that clients may ask of c.
func nothingHangs(t *testing.T, c *process, breakIt func() error) {
	t.Helper()
	c.untilWhole(3)
	setKeys(t, c, "one")
	doors := []string{c.addr, c.clusterDoor()}
	if err := breakIt(); err != nil {
		t.Fatal(err)
	}
	var talking sync.WaitGroup
	var inTrouble atomic.Int64
	frozen := time.Now()
	for _, at := range []time.Duration{0, 700 * time.Millisecond, 2500 * time.Millisecond} {
		time.Sleep(time.Until(frozen.Add(at))) // what is tried is how long after the fault
		for _, door := range doors {
			for _, talk := range allTalks() {
				if at > 0 && strings.HasPrefix(talk, "WATCH") {
					continue // it takes twice as long, and has been tried
				}
				conn := &client{conn: dial(t, "tcp", door)}
				conn.replies = protocol.NewDecoder(conn.conn)
				talking.Go(func() {
					err := conn.talk(talk, &inTrouble)
					if err != nil {
						t.Errorf("%v after the fault, at %s: %s: %v", at, door, talk, err)
					}
				})
			}
		}
	}
	talking.Wait()
	if inTrouble.Load() == 0 {
		t.Error("no reply says that anything is wrong: the majority can still be reached")
	}
}

// troubles are the errors of a grid that cannot do what it is asked, for the time being.
var troubles = []string{"INDETERMINATE", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS"}

// allTalks are those about several keys, and the others.
func allTalks() (all []string) {
	for i := range 8 {
		key := fmt.Sprintf("key:%d", i)
		for _, talk := range talks {
			all = append(all, strings.ReplaceAll(talk, "KEY", key))
		}
	}
	return append(all, wideTalks...)
}

// talk sends commands one after the other, and counts the replies that are one of troubles. An error says what was wrong with a reply.
func (c *client) talk(talk string, inTrouble *atomic.Int64) error {
	silent := false
	for command := range strings.SplitSeq(talk, " | ") {
		words := strings.Fields(command)
		if silent || command == "CLIENT REPLY SKIP" {
			if _, err := c.conn.Write(requestOf(words)); err != nil {
				return err
			}
			silent = !silent
			continue
		}
		begin := time.Now()
		reply, err := c.do(words...)
		took := time.Since(begin)
		if word, _, _ := strings.Cut(string(reply.Str), " "); reply.IsError() && slices.Contains(troubles, word) {
			inTrouble.Add(1)
		}
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w after %v", command, err, took)
		case took > answerMax:
			return fmt.Errorf("%s: answered after %v: %q", command, took, reply.Str)
		case reply.IsError() && !isNamed(words[0], string(reply.Str)):
			return fmt.Errorf("%s: %q", command, reply.Str)
		}
	}
	return nil
}

// isNamed tells whether an error is one that a client may expect of a grid in trouble, or always of the command.
func isNamed(command, text string) bool {
	word, _, _ := strings.Cut(text, " ")
	named := []string{"MOVED", "CROSSSLOT", "EXECABORT"}
	return slices.Contains(troubles, word) || slices.Contains(named, word) ||
		word == "ERR" && (strings.HasPrefix(command, "GRID.") || slices.Contains([]string{"EVAL", "SWAPDB", "EXEC", "CLUSTER"}, command))
}
