package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/protocol"
)

func TestGridTable(t *testing.T) {
	top := gridOf(7, "a", []NodeID{"a", "b", "w"}, "b a", "", "a b", "a")
	top.Nodes[1].Client = ""
	top.Nodes[2].Client, top.Nodes[2].Cluster, top.Nodes[2].Witness = "", "", true
	withGrid(t, top, func(srv *inProcess, _ *fakeRouter) {
		const (
			nodes  = "[[a,10.0.0.1,6379,7379],[b,10.0.0.2,0,7379]]"
			whole  = "[version,7,partitions,4,nodes," + nodes + ",owners,[1,-1,0,0]]"
			copies = "[version,7,partitions,4,nodes," + nodes + ",owners,[1,-1,0,0],backups,[[0],[],[1],[]]]"
		)
		for door, c := range map[string]*client{"grid": srv.connect(), "cluster": srv.connectCluster()} {
			for _, tt := range []struct{ words, want string }{
				{"GRID.TABLE", whole},
				{"grid.table 6", whole},
				{"GRID.TABLE 8", whole}, // of a grid that was there before
				{"GRID.TABLE 7", "(nil)"},
				{"GRID.TABLE BACKUPS", copies},
				{"GRID.TABLE 6 backups", copies},
				{"GRID.TABLE 7 BACKUPS", "(nil)"},
				{"GRID.TABLE x", "(error)_" + strings.ReplaceAll(protocol.ErrNotInteger, " ", "_")},
				{"GRID.TABLE -1", "(error)_" + strings.ReplaceAll(protocol.ErrNotInteger, " ", "_")},
				{"GRID.TABLE 1 2", "(error)_ERR_wrong_number_of_arguments_for_'grid.table'_command"},
			} {
				want(t, door+" door: "+tt.words, c.tell(strings.Fields(tt.words)...), tt.want)
			}
			c.do("HELLO", "3")
			c.out = c.out[:0]
			if v := c.read("GRID.TABLE"); v.Kind != testredis.Map || len(v.Elems) != 8 {
				t.Errorf("%s door: RESP3 has %v, want a map of 4", door, v)
			}
		}
	})
}

// A node that is alone has a table too: itself, as the client has reached it.
func TestGridTableAlone(t *testing.T) {
	withServer(t, Options{Partitions: 4, NodeID: "me"}, func(srv *inProcess) {
		c := srv.connect()
		want(t, "GRID.TABLE", c.tell("GRID.TABLE"), "[version,1,partitions,4,nodes,[[me,test,0,0]],owners,[0,0,0,0]]")
		want(t, "GRID.TABLE 1", c.tell("GRID.TABLE", "1"), "(nil)")
	})
}

// What a person asks for is passed on word by word, and waits off the loop.
func TestGridAdmin(t *testing.T) {
	withGrid(t, gridOf(1, "a", []NodeID{"a"}, "a"), func(srv *inProcess, r *fakeRouter) {
		c := srv.connect()
		for _, tt := range []struct{ words, want string }{
			{"GRID.STATUS", `"[status]"`},
			{"GRID.DRAIN", `"[drain]"`},
			{"GRID.DRAIN b", `"[drain b]"`},
			{"GRID.UNDRAIN", `"[undrain]"`},
			{"GRID.UNDRAIN b", `"[undrain b]"`},
			{"GRID.RECOVER accept-data-loss 1 2", `"[recover accept-data-loss 1 2]"`},
			{"GRID.STATUS x", "(error) ERR wrong number of arguments for 'grid.status' command"},
			{"GRID.DRAIN b c", "(error) ERR wrong number of arguments for 'grid.drain' command"},
			{"GRID.UNDRAIN b c", "(error) ERR wrong number of arguments for 'grid.undrain' command"},
			{"GRID.RECOVER", "(error) ERR wrong number of arguments for 'grid.recover' command"},
		} {
			before := len(r.mu.admin)
			if got := c.ask(strings.Fields(tt.words)...); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.words, got, tt.want)
			}
			if asked := len(r.mu.admin) > before; asked != (tt.want[0] == '"') {
				t.Errorf("%s: the router was asked: %v", tt.words, asked)
			}
		}

		for err, want := range map[string]string{
			"drain: b is the last\r\nnode":   "(error) ERR drain: b is the last  node",
			"CLUSTERDOWN no leader is known": "(error) CLUSTERDOWN no leader is known",
		} {
			r.onAdmin = func([]string) (string, error) { return "", errors.New(err) }
			if got := c.ask("GRID.DRAIN"); got != want {
				t.Errorf("error %q: got %s, want %s", err, got, want)
			}
		}

		c.do("MULTI")
		if got, want := c.ask("GRID.DRAIN"), "(error) ERR Command not allowed inside a transaction"; got != want {
			t.Errorf("in a MULTI: got %s, want %s", got, want)
		}
		c.do("DISCARD")

		release := make(chan struct{})
		r.onAdmin = func([]string) (string, error) {
			<-release
			return "done", nil
		}
		c.out = nil
		c.feed(protocol.AppendCommand(nil, "GRID.DRAIN"))
		srv.settle()
		if other := srv.connect(); other.ask("PING") != "PONG" {
			t.Error("while a drain is under way other clients wait")
		}
		if len(c.out) > 0 {
			t.Errorf("before the drain has ended it answers %q", c.out)
		}
		close(release)
		srv.settle()
		if string(c.out) != "$4\r\ndone\r\n" {
			t.Errorf("the drain answers %q", c.out)
		}
	})
}

func TestGridAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newInProcess(t, Options{Partitions: 4}).connect()
		for _, r := range gridRows {
			if r.Name == "grid.table" {
				continue // TestGridTableAlone
			}
			if got, want := c.ask(rowWords(r)...), "(error) "+errAlone; got != want {
				t.Errorf("%s: got %s, want %s", r.Name, got, want)
			}
		}
		if info := c.read("INFO", "everything").Text; strings.Contains(info, "# Grid") || !strings.Contains(info, "promise_kept:yes") {
			t.Errorf("INFO of a node that is alone:\n%s", info)
		}
	})
}

func TestGridInfo(t *testing.T) {
	withGrid(t, gridOf(1, "a", []NodeID{"a"}, "a"), func(srv *inProcess, r *fakeRouter) {
		c := srv.connect()
		r.onAdmin = func(words []string) (string, error) { return fmt.Sprintf("grid_words:%s\r\n", words), nil }
		if got, want := c.read("INFO", "grid").Text, "# Grid\r\ngrid_words:[info]\r\n"; got != want {
			t.Errorf("INFO grid: got %q, want %q", got, want)
		}
		r.onAdmin = func([]string) (string, error) { return "", errors.New("no\r\nway") }
		if got, want := c.read("INFO", "grid").Text, "# Grid\r\ngrid_error:no way\r\n"; got != want {
			t.Errorf("INFO grid with an error: got %q, want %q", got, want)
		}
	})
}
