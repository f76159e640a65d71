package server

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/partition"
)

var (
	replicaSeed     = flag.Uint64("replica.seed", 1, "of TestReplica's first run")
	replicaCommands = flag.Int("replica.commands", 40_000, "in each of TestReplica's runs")
)

const (
	replicaRuns       = 2
	replicaPartitions = 8
	replicaClients    = 5
	compactEvery      = 500 // commands
	historyLines      = 25  // of commands, shown with a difference
)

// TestReplica runs random commands of every row, in several databases, with and without MULTI, while keys expire and are
// evicted. The batches go through their encoding to a second store. After each command both must hold the same: keys,
// values with their order, expiries and encodings; and again after both have been compacted, which moves what they hold.
//
// Every row with the flag "write" must have been run and have changed something.
func TestReplica(t *testing.T) {
	ran, changed := map[*Row]int{}, map[*Row]int{}
	for seed := *replicaSeed; seed < *replicaSeed+replicaRuns; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReplicaRun(t, seed)
				r.ran, r.changed = ran, changed
				for range *replicaCommands {
					r.step()
				}
				r.compact()
			})
		})
	}
	if t.Failed() {
		return
	}
	for _, row := range randomRows() {
		switch {
		case ran[row] == 0:
			t.Errorf("%s was never run", row.fullName())
		case row.Flags&Write != 0 && changed[row] == 0:
			t.Errorf("%s was run %d times and never changed anything", row.fullName(), ran[row])
		}
	}
	if testing.Verbose() {
		for _, row := range randomRows() {
			if row.Flags&Write != 0 {
				t.Logf("%-20s run %5d times, changed something %5d times", row.fullName(), ran[row], changed[row])
			}
		}
	}
}

// replicaRun is a server, the store that plays its batches, and the clients that make them.
type replicaRun struct {
	*testing.T
	*commandMaker
	srv     *inProcess
	replica *partition.Store
	rows    []*Row

	batches int
	touched []int // partitions that got a batch and were not compared since
	encoded []byte
	failure error
	history []string

	ran, changed map[*Row]int // by row: how often it was run, and how often with a batch
}

func newReplicaRun(t *testing.T, seed uint64) *replicaRun {
	r := &replicaRun{T: t, rows: randomRows()}
	r.commandMaker = &commandMaker{Rand: rand.New(rand.NewPCG(seed, 0)), now: func() int64 { return time.Now().UnixMilli() }}
	gridSeed := partition.Seed{K0: seed, K1: 7}
	r.srv = newInProcess(t, Options{Partitions: replicaPartitions, Seed: gridSeed, Sink: r.play})
	var err error
	r.replica, err = partition.NewStore(partition.Options{
		Partitions: replicaPartitions, Seed: gridSeed, Limits: r.srv.config.limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.replica.Close)
	for i := range replicaClients {
		r.srv.connect().do("SELECT", fmt.Sprint(i%databasesUsed))
	}
	return r
}

// play applies a batch to the replica, by way of its encoding. It runs under the partition's lock, on any goroutine, but
// one command at a time.
func (r *replicaRun) play(p *partition.Partition, b partition.Batch) (settled bool) {
	r.encoded = partition.AppendBatch(r.encoded[:0], b)
	decoded, rest, err := partition.DecodeBatch(r.encoded)
	switch {
	case err != nil:
	case len(rest) > 0:
		err = fmt.Errorf("%d bytes are left behind the batch", len(rest))
	default:
		err = r.replica.Partition(p.ID).Apply(decoded)
	}
	if err != nil && r.failure == nil {
		r.failure = fmt.Errorf("batch %d of partition %d: %w", b.Seq, p.ID, err)
	}
	r.batches++
	if !slices.Contains(r.touched, p.ID) {
		r.touched = append(r.touched, p.ID)
	}
	clear(r.encoded) // nobody keeps a view of it
	return false
}

// step does one thing, and compares what it has changed.
func (r *replicaRun) step() {
	switch n := r.IntN(1000); {
	case n < 20:
		d := time.Duration(r.IntN(4000)) * time.Millisecond
		time.Sleep(d)
		r.note("%v pass", d)
	case n < 30:
		r.note("active expiry")
		r.srv.expireDue(time.Second)
	case n < 33:
		r.note("eviction")
		r.srv.store.Evict(partition.AllKeysRandom, 3, r.now())
	case n < 33+1000/compactEvery:
		r.note("compaction")
		r.compact()
	default:
		r.command()
	}
	r.compare()
}

func (r *replicaRun) command() {
	row := r.rows[r.IntN(len(r.rows))]
	for r.IntN(oneIn(row)) != 0 {
		row = r.rows[r.IntN(len(r.rows))]
	}
	i := r.IntN(replicaClients)
	c := r.srv.clients[i]
	queues := c.session.multi != nil
	if queues && r.chance(20) {
		row = lookupName("exec")
	}
	args := r.make(row)
	r.note("client %d, db %d: %s", i, c.session.db, quoted(args))
	before := r.batches
	reply := c.do(args...)
	r.learn(args, reply)
	if queues && !row.runsInMulti() || row.Flags&Write != 0 && reply[0] == '-' {
		return // queued, or a change that was refused
	}
	r.ran[row]++
	if r.batches > before {
		r.changed[row]++
	}
}

func (r *replicaRun) note(format string, args ...any) {
	if len(r.history) == historyLines {
		r.history = append(r.history[:0], r.history[1:]...)
	}
	r.history = append(r.history, fmt.Sprintf(format, args...))
}

// compare holds the partitions that have changed against the replica's.
func (r *replicaRun) compare() {
	r.Helper()
	if r.failure != nil {
		r.fatal(r.failure.Error())
	}
	for _, id := range r.touched {
		if got, want := r.replica.Partition(id).Digest(), r.srv.store.Partition(id).Digest(); got != want {
			r.fatal(fmt.Sprintf("partition %d: the replica's digest is %x, the primary's %x\n%s", id, got, want, r.differences()))
		}
	}
	r.touched = r.touched[:0]
}

// compact moves all there is to move on both sides, which must change nothing.
func (r *replicaRun) compact() {
	r.Helper()
	for id := range replicaPartitions {
		before := r.srv.store.Partition(id).Digest()
		r.srv.store.Partition(id).CompactAll()
		if after := r.srv.store.Partition(id).Digest(); after != before {
			r.fatal(fmt.Sprintf("partition %d: the digest was %x and is %x after compaction", id, before, after))
		}
		r.replica.Partition(id).CompactAll()
		r.touched = append(r.touched, id)
	}
	r.compare()
}

func (r *replicaRun) fatal(what string) {
	r.Helper()
	r.Fatalf("%s\nthe last commands:\n\t%s", what, strings.Join(r.history, "\n\t"))
}

// differences lists the keys that are not the same on both sides.
func (r *replicaRun) differences() string {
	ours, theirs := contents(r.srv.store), contents(r.replica)
	var b strings.Builder
	for key, want := range ours {
		if got := theirs[key]; got != want {
			fmt.Fprintf(&b, "\tprimary %s = %.200s\n\treplica %s = %.200s\n", key, want, key, got)
		}
	}
	for key, got := range theirs {
		if ours[key] == "" {
			fmt.Fprintf(&b, "\tonly on the replica: %s = %.200s\n", key, got)
		}
	}
	return b.String()
}

// contents is everything a store holds, expired keys too.
func contents(s *partition.Store) map[string]string {
	all := map[string]string{}
	tx := partition.NewTx(s)
	tx.BeginAll(0)
	tx.Now = 0 // the log may be ahead: keys that have expired count too
	defer tx.End()
	for tx.DB = range partition.Databases {
		tx.EachKey(func(key []byte, v partition.Value) bool {
			all[fmt.Sprintf("db %d key %q", tx.DB, key)] = fmt.Sprintf("%s, expires %d, %q", v.Encoding(), v.ExpireAt(), v.Dump(nil))
			return true
		})
	}
	return all
}

// TestReplicaExpiry follows a key from SET to its end: it is there until the very millisecond of its expiry, gone from
// then on, and the replica is told either way: by whoever looks, or by active expiry.
func TestReplicaExpiry(t *testing.T) {
	for _, how := range []string{"looked up", "active"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReplicaRun(t, 1)
				c := r.srv.clients[0]
				for _, args := range [][]string{
					{"SET", "k", "v", "PX", "1500"}, {"PEXPIRE", "k", "1500"}, {"RPUSH", "l", "a", "b"}, {"PEXPIRE", "l", "1500"},
				} {
					if reply := c.do(args...); reply[0] == '-' {
						t.Fatalf("%s: %q", quoted(args), reply)
					}
				}
				exists := func(want string) {
					t.Helper()
					if got := c.do("EXISTS", "k", "l"); !bytes.Equal(got, []byte(want)) {
						t.Errorf("EXISTS k l: got %q, want %q", got, want)
					}
				}
				time.Sleep(1499 * time.Millisecond)
				r.srv.expireDue(time.Second)
				exists(":2\r\n")
				time.Sleep(time.Millisecond)
				if how == "active" {
					r.srv.expireDue(time.Second)
				} else {
					exists(":0\r\n")
				}
				if all := contents(r.srv.store); len(all) > 0 {
					t.Errorf("the store holds %v", all)
				}
				r.compare()
			})
		})
	}
}
