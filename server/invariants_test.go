//go:build invariants

package server

import "testing"

// TestInvariantsAreChecked: a handler that fails after it has changed something is caught.
func TestInvariantsAreChecked(t *testing.T) {
	srv := newInProcess(t, Options{})
	row := *lookupName("set")
	row.Run = func(c *Call) {
		cmdSet(c)
		c.W.Buf = c.W.Buf[:0]
		c.W.Error("ERR after all")
	}
	defer func(r *Row) { table["set"] = r }(table["set"])
	table["set"] = &row
	defer func() {
		if recover() == nil {
			t.Error("nothing was noticed")
		}
	}()
	srv.connect().do("SET", "k", "v")
}
