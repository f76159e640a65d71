package server

import (
	"fmt"
	"testing"

	"github.com/neargrid/neargrid/partition"
)

// Active expiry gets to every partition, also where its time runs out in each turn.
func TestActiveExpiryReachesEveryPartition(t *testing.T) {
	const partitions, keys = 4, 100_000
	srv, err := New(Options{Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.store.Close)
	tx := partition.NewTx(srv.store)
	tx.BeginAll(0)
	for i := range keys {
		tx.SetString(fmt.Append(nil, i), nil, partition.StringAuto, 1)
	}
	tx.End()
	var before [partitions]uint64
	for i := range before {
		before[i] = srv.store.Partition(i).Digest()
	}
	for range partitions {
		srv.expireDue(0)
	}
	for i := range before {
		if srv.store.Partition(i).Digest() == before[i] {
			t.Errorf("nothing has expired in partition %d after %d turns without time", i, partitions)
		}
	}
}
