//go:build invariants

package partition

import "testing"

// TestInvariantsAreChecked breaks each rule once.
func TestInvariantsAreChecked(t *testing.T) {
	for name, breakIt := range map[string]func(s *Store, tx *Tx){
		"a change without the lock":    func(s *Store, tx *Tx) { s.Partition(0).emit(opDel, 0, nil) },
		"locks in descending order":    func(s *Store, tx *Tx) { tx.Begin(0, 2, 1) },
		"a lock while others are held": func(s *Store, tx *Tx) { tx.Begin(0, 1); tx.With([]byte("a"), func() {}) },
		"a key of another partition":   func(s *Store, tx *Tx) { tx.Begin(0, 1); tx.SetString([]byte("a"), nil, StringAuto, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			s := mustStore(t, Options{Partitions: 4})
			if s.PartitionOf([]byte("a")) == 1 {
				t.Fatal("the key a is in partition 1")
			}
			defer func() {
				if recover() == nil {
					t.Error("nothing was noticed")
				}
			}()
			breakIt(s, NewTx(s))
		})
	}
}
