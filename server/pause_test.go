package server_test

import (
	"testing"

	"github.com/neargrid/neargrid/internal/testredis"
)

// While writes are paused a command that would be refused anyway is answered at once, and who waits counts among the blocked
// clients, until it goes or the pause ends: here as on redis-server.
func TestPausedClientsAreBlockedClients(t *testing.T) {
	for name, addr := range map[string]string{"neargrid": startServer(t), "redis": testredis.Start(t).Addr} {
		t.Run(name, func(t *testing.T) {
			conn, other := dialOurs(t, addr), dialOurs(t, addr)
			blocked := func(n int) {
				t.Helper()
				eventually(t, "blocked_clients", func() bool { return infoNumber(t, conn, "blocked_clients") == n })
			}
			set := func(c *testredis.Conn) {
				c.Queue("SET", "k", "v")
				if err := c.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			conn.Do(t, "CLIENT", "PAUSE", "60000", "WRITE")
			for _, args := range [][]string{{"SET", "k"}, {"NO-SUCH-COMMAND"}, {"GET"}} {
				if got := other.Do(t, args...); got.Kind != testredis.Error {
					t.Errorf("%v while writes are paused: %s, want an error", args, testredis.Format(got))
				}
			}
			blocked(0)
			set(other)
			blocked(1)
			gone := dialOurs(t, addr)
			set(gone)
			blocked(2)
			gone.Close()
			blocked(1)
			conn.Do(t, "CLIENT", "UNPAUSE")
			if got, err := other.Receive(); err != nil || got.Text != "OK" {
				t.Errorf("SET after the pause: %v, %v", got, err)
			}
			blocked(0)
		})
	}
}
