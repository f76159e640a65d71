package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/neargrid/neargrid/protocol"
)

func TestGridTable(t *testing.T) {
	top := gridOf(7, "a", []NodeID{"a", "b", "w"}, "a b", "")
	top.Nodes[2].Client, top.Nodes[2].Cluster = "", ""
	withGrid(t, top, func(srv *inProcess, _ *fakeRouter) {
		whole := `1) (integer) 7
2) 1) 1) "a"
      2) "10.0.0.1:6379"
      3) "10.0.0.1:7379"
      4) "10.0.0.1:16379"
   2) 1) "b"
      2) "10.0.0.2:6379"
      3) "10.0.0.2:7379"
      4) "10.0.0.2:16379"
   3) 1) "w"
      2) ""
      3) ""
      4) "10.0.0.3:16379"
3) 1) 1) (integer) 700
      2) "a"
      3) 1) "b"
   2) 1) (integer) 701
      2) ""
      3) (empty array)`
		for door, c := range map[string]*client{"grid": srv.connect(), "cluster": srv.connectCluster()} {
			for _, tt := range []struct{ words, want string }{
				{"GRID.TABLE", whole},
				{"grid.table 6", whole},
				{"GRID.TABLE 8", whole}, // of a grid that was there before
				{"GRID.TABLE 7", "1) (integer) 7"},
				{"GRID.TABLE x", "(error) " + protocol.ErrNotInteger},
				{"GRID.TABLE -1", "(error) " + protocol.ErrNotInteger},
				{"GRID.TABLE 1 2", "(error) ERR wrong number of arguments for 'grid.table' command"},
			} {
				if got := c.ask(strings.Fields(tt.words)...); got != tt.want {
					t.Errorf("%s door: %s\ngot\n%s\nwant\n%s", door, tt.words, got, tt.want)
				}
			}
		}
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
