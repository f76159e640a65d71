package sidecar

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neargrid/neargrid/server"
)

// TestClosed: what comes while the sidecar is being closed, or behind that, is answered, and starts nothing that Close would have to wait for.
func TestClosed(t *testing.T) {
	s, err := New(Options{Server: server.Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}, Join: []string{nodeAddr(t)}})
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grid is found", func() bool { return s.Waiting() == "" })
	commands := []func() (server.NodeID, *server.Forwarded){
		func() (server.NodeID, *server.Forwarded) { return server.NearNode, forwarded("GET closed") },
		func() (server.NodeID, *server.Forwarded) { return s.Any(), forwarded("WAIT 0 1") },
	}
	forward := func(i int) chan server.Answer {
		answered := make(chan server.Answer, 1)
		to, f := commands[i%len(commands)]()
		s.Forward(to, f, func(a server.Answer) { answered <- a })
		return answered
	}
	var wg sync.WaitGroup
	closed := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			for {
				select {
				case <-forward(i):
				case <-time.After(patience):
					t.Error("a command is not answered")
					return
				}
				select {
				case <-closed:
					return
				default:
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	close(closed)
	wg.Wait()
	for i := range commands {
		select {
		case a := <-forward(i):
			if a.Outcome != server.NotExecuted {
				t.Errorf("outcome %d of what comes behind Close", a.Outcome)
			}
		default:
			t.Error("Forward has started what outlives Close")
		}
	}
}

func forwarded(line string) *server.Forwarded {
	f := &server.Forwarded{Resp: 3, Timeout: time.Second}
	for word := range strings.FieldsSeq(line) {
		f.Args = append(f.Args, []byte(word))
	}
	return f
}
