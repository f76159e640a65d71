package server_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/server"
	"github.com/neargrid/neargrid/sidecar"
)

// startSidecar starts a server and a sidecar in front of it, which clients are to take for a server.
func startSidecar(t *testing.T) string {
	t.Helper()
	return startSidecarOf(t, startServer(t))
}

// startSidecarOf starts a sidecar in front of a server.
func startSidecarOf(t *testing.T, addr string) string {
	t.Helper()
	s, err := sidecar.New(sidecar.Options{
		Join: []string{addr}, Server: server.Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)},
	})
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	c, err := testredis.Dial(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for deadline := time.Now().Add(10 * time.Second); c.Do(t, "PING").IsError(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the sidecar has not found its server")
		}
	}
	return s.Addr()
}
