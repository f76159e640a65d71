package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// evicting is a client of a server that is to run out of memory. Time stands still but for the test's sleeps: a command has
// all the time it needs to make room.
type evicting struct {
	*client
	t *testing.T
}

// commandRoomBytes is what one command with small values may take beyond maxmemory: a chunk of records, and a slab of index segments.
const commandRoomBytes = 64<<10 + 64<<10

func withEvicting(t *testing.T, partitions int, policy string, f func(e evicting)) {
	t.Helper()
	goHeapLive.Store(1 << 20) // it counts as used, and stays since no cron runs
	withServer(t, Options{Partitions: partitions, Seed: partition.Seed{K0: 1, K1: 2}}, func(srv *inProcess) {
		e := evicting{srv.connect(), t}
		e.want("OK", "CONFIG", "SET", "maxmemory-policy", policy, "lfu-log-factor", "0")
		f(e)
	})
}

func (e evicting) want(want string, args ...string) {
	e.t.Helper()
	if got := e.ask(args...); got != want {
		e.t.Fatalf("%.80s: %s, want %s", strings.Join(args, " "), got, want)
	}
}

const oom = "(error) " + protocol.ErrOOM

// info reads one number of INFO.
func (e evicting) info(name string) int64 {
	e.t.Helper()
	_, after, found := strings.Cut(e.read("INFO", "everything").Text, "\n"+name+":")
	line, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.ParseInt(line, 10, 64)
	if !found || err != nil {
		e.t.Fatalf("INFO has no number %s: %q", name, line)
	}
	return n
}

// squeeze has room made for so many bytes, by a limit that is then lifted: compaction may allocate a chunk before it frees one, and so
// the next command would evict a little more.
func (e evicting) squeeze(bytes int64) {
	e.t.Helper()
	limit := e.server.usedMemory() - bytes
	e.limit(limit)
	e.want("PONG", "PING")
	if used := e.info("used_memory"); used > limit {
		e.t.Errorf("used_memory is %d after making room, maxmemory %d", used, limit)
	}
	e.limit(0)
}

func (e evicting) limit(bytes int64) {
	e.t.Helper()
	e.want("OK", "CONFIG", "SET", "maxmemory", strconv.FormatInt(bytes, 10))
}

// names are n keys that begin alike.
func names(prefix string, n int) (keys []string) {
	for i := range n {
		keys = append(keys, prefix+strconv.Itoa(i))
	}
	return keys
}

// set sets keys, each to 100 bytes, with further arguments of SET.
func (e evicting) set(keys []string, options ...string) {
	e.t.Helper()
	for _, key := range keys {
		e.want("OK", append([]string{"SET", key, strings.Repeat("v", 100)}, options...)...)
	}
}

// use reads keys so many times.
func (e evicting) use(keys []string, times int) {
	for range times {
		e.do(append([]string{"MGET"}, keys...)...)
	}
}

// lost is how many of the keys are not there. Looking is no use.
func (e evicting) lost(keys []string) (n int) {
	for _, key := range keys {
		if e.ask("TYPE", key) == "none" {
			n++
		}
	}
	return n
}

// TestEvictionOrder: what goes first by each policy, of keys that differ in when and how often they were used, and in when they expire.
func TestEvictionOrder(t *testing.T) {
	const group, squeezed = 300, 100
	for _, tt := range []struct{ policy, first string }{
		{"allkeys-lru", "idle:"}, {"allkeys-lfu", "rare:"}, {"allkeys-random", ""},
		{"volatile-lru", "idle:"}, {"volatile-lfu", "rare:"}, {"volatile-random", ""}, {"volatile-ttl", "near:"},
	} {
		t.Run(tt.policy, func(t *testing.T) {
			withEvicting(t, 4, tt.policy, func(e evicting) {
				idle, rare, near, stay := names("idle:", group), names("rare:", group), names("near:", group), names("stay:", group)
				e.set(idle, "EX", "1000000")
				e.set(rare, "PXAT", "9223372036854775000") // the latest there is, nearly
				e.set(near, "EX", "100000")
				e.use(idle, 20)
				e.use(near, 20)
				if strings.HasPrefix(tt.policy, "volatile-") {
					e.set(stay) // idle and rare, both
				}
				time.Sleep(10 * time.Minute)
				e.use(rare, 1)
				e.use(near, 1)

				before := e.read("DBSIZE").Int()
				e.squeeze(squeezed * 128)
				evicted := int(e.info("evicted_keys"))
				if evicted < squeezed/2 || evicted > squeezed*2 {
					t.Errorf("%d keys were evicted for the room of about %d", evicted, squeezed)
				}
				if gone := before - e.read("DBSIZE").Int(); int(gone) != evicted {
					t.Errorf("%d keys are gone, evicted_keys says %d", gone, evicted)
				}
				lost := map[string]int{"idle:": e.lost(idle), "rare:": e.lost(rare), "near:": e.lost(near)}
				for prefix, n := range lost {
					switch {
					case tt.first == "" && (n < evicted/8 || n > evicted*2/3):
						t.Errorf("of %d keys that were evicted at random %d were %s, want about a third", evicted, n, prefix)
					case tt.first == prefix && n < evicted*3/4:
						t.Errorf("of %d keys that were evicted %d were %s, want nearly all: %v", evicted, n, prefix, lost)
					}
				}
				if sum := lost["idle:"] + lost["rare:"] + lost["near:"]; sum != evicted {
					t.Errorf("of %d keys that were evicted %d have an expiry", evicted, sum)
				}
			})
		})
	}
}

// TestEvictionNoneLeft: where a policy finds nothing to evict, commands that may need memory are refused, and others are not; no
// persistent key is touched. Each way out works at once: another policy, more memory, deleting.
func TestEvictionNoneLeft(t *testing.T) {
	for _, policy := range []string{"noeviction", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		t.Run(policy, func(t *testing.T) {
			withEvicting(t, 4, policy, func(e evicting) {
				stay, volatile := names("stay:", 2000), names("volatile:", 50)
				e.set(stay)
				full := e.server.usedMemory()
				e.set(volatile, "EX", "1000")
				e.limit(full - 20_000)
				wantLost := len(volatile)
				if policy == "noeviction" {
					wantLost = 0
				}
				refused := func(when string) {
					t.Helper()
					e.want(oom, "SET", "k", "v")
					e.want(oom, "SET", "k", "v", "EX", "100")
					e.want(oom, "LPUSH", "l", "v")
					e.want("(nil)", "GET", "k")
					if got := e.ask("GET", stay[0]); got != strconv.Quote(strings.Repeat("v", 100)) {
						t.Errorf("%s: GET answers %s", when, got)
					}
					if n := e.lost(stay); n > 0 {
						t.Errorf("%s: %d persistent keys are lost", when, n)
					}
					if n, counted := e.lost(volatile), int(e.info("evicted_keys")); n != wantLost || counted != n {
						t.Errorf("%s: %d keys with an expiry are lost, evicted_keys is %d, want %d", when, n, counted, wantLost)
					}
				}
				refused("none is left")

				e.limit(2 * full)
				e.want("OK", "SET", "k", "v")
				e.want("(integer) 1", "DEL", "k")
				e.limit(full - 20_000)
				refused("more memory, and less again")

				e.want("OK", "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
				e.want("OK", "SET", "k", "v")
				e.want("(integer) 1", "DEL", "k")
				if n := e.lost(stay); n == 0 || n == len(stay) {
					t.Errorf("with allkeys-lru %d persistent keys of %d are lost", n, len(stay))
				}

				e.want("OK", "CONFIG", "SET", "maxmemory-policy", policy)
				e.limit(e.server.usedMemory() - 1)
				evicted := e.info("evicted_keys")
				e.want(oom, "SET", "k", "v")
				if n := e.info("evicted_keys"); n != evicted {
					t.Errorf("with %s again %d keys were evicted", policy, n-evicted)
				}
				for _, key := range stay {
					e.do("DEL", key)
				}
				e.want("OK", "SET", "k", "v")
			})
		})
	}
}

// TestEvictionNothingLost: with noeviction every key that was acknowledged is there, and memory stays within its limit.
func TestEvictionNothingLost(t *testing.T) {
	withEvicting(t, 4, "noeviction", func(e evicting) {
		limit := e.server.usedMemory() + 1<<20
		e.limit(limit)
		var kept []string
		refused := 0
		for i := 0; refused < 100; i++ {
			key := fmt.Sprint("key:", i)
			switch got := e.ask("SET", key, key+strings.Repeat("v", 100)); got {
			case "OK":
				kept = append(kept, key)
			case oom:
				refused++
			default:
				t.Fatalf("SET: %s", got)
			}
			if used := e.server.usedMemory(); used > limit+commandRoomBytes {
				t.Fatalf("%d bytes are used, of %d", used, limit)
			}
		}
		for _, key := range kept {
			e.want(strconv.Quote(key+strings.Repeat("v", 100)), "GET", key)
		}
		e.want(fmt.Sprintf("(integer) %d", len(kept)), "DBSIZE")
		if n := e.info("evicted_keys"); n != 0 || len(kept) < 1<<20/256 {
			t.Errorf("%d keys were evicted, %d kept", n, len(kept))
		}
		for _, key := range kept[:len(kept)/2] {
			e.want("(integer) 1", "DEL", key)
		}
		e.want("OK", "SET", "k", "v")
	})
}

// TestEvictionHoldsLimit: whatever the policy, memory stays within its limit while ten times as much is written, and what a
// client is told about keys adds up.
func TestEvictionHoldsLimit(t *testing.T) {
	for _, policy := range partition.PolicyNames {
		if policy == "noeviction" {
			continue
		}
		t.Run(policy, func(t *testing.T) {
			withEvicting(t, 4, policy, func(e evicting) {
				limit := e.server.usedMemory() + 1<<20
				e.limit(limit)
				const writes = 10_000
				most := int64(0)
				for i := range writes {
					key := fmt.Sprint("key:", i)
					e.want("OK", "SET", key, strings.Repeat("v", i*i%2000), "EX", strconv.Itoa(1000+i%7))
					most = max(most, e.server.usedMemory()-limit)
				}
				if most > commandRoomBytes {
					t.Errorf("%d bytes more than maxmemory were in use, want at most %d", most, commandRoomBytes)
				}
				used := e.info("used_memory")
				e.limit(0)
				evicted, there := e.info("evicted_keys"), e.read("DBSIZE").Int()
				if used > limit || used < limit-1<<18 {
					t.Errorf("used_memory is %d, maxmemory %d", used, limit)
				}
				if evicted+there != writes {
					t.Errorf("%d keys were evicted and %d are there, of %d", evicted, there, writes)
				}
			})
		})
	}
}

// TestEvictionLargeValues: memory that is released later counts as free at once, so that no more is evicted, or refused, than has to be.
func TestEvictionLargeValues(t *testing.T) {
	large := map[string]func(e evicting, key string){
		"string": func(e evicting, key string) { e.do("SETRANGE", key, "99999", "x") },
		"list": func(e evicting, key string) {
			e.do(append([]string{"RPUSH", key}, slices.Repeat([]string{strings.Repeat("v", 1000)}, 100)...)...)
		},
		"set": func(e evicting, key string) {
			e.do(append([]string{"SADD", key}, names(strings.Repeat("v", 80), 1000)...)...)
		},
	}
	for name, add := range large {
		withEvicting(t, 4, "allkeys-random", func(e evicting) {
			for _, key := range names("k", 20) {
				add(e, key)
			}
			e.squeeze(20_000)
			if n := e.info("evicted_keys"); n != 1 {
				t.Errorf("%s: %d keys of 100 KB were evicted to make room for 20 KB", name, n)
			}
			e.want("OK", "CONFIG", "SET", "maxmemory-policy", "noeviction")
			e.limit(e.server.usedMemory() - 1)
			e.want(oom, "SET", "k", "v")
			e.want("OK", "FLUSHALL")
			e.want("OK", "SET", "k", "v")
		})
	}
}

// TestEvictionFindsTheOne: the only key that may be evicted is found, among many keys of a partition, or in one partition of many.
func TestEvictionFindsTheOne(t *testing.T) {
	const rounds = 30
	for _, tt := range []struct{ partitions, persistent int }{{1, 300_000}, {256, 10_000}} {
		t.Run(fmt.Sprintf("%d partitions", tt.partitions), func(t *testing.T) {
			withEvicting(t, tt.partitions, "volatile-ttl", func(e evicting) {
				for i := 0; i < tt.persistent; i += 1000 {
					command := []string{"MSET"}
					for _, key := range names("stay:", 1000) {
						command = append(command, key+":"+strconv.Itoa(i), "")
					}
					e.want("OK", command...)
				}
				for i := range rounds {
					e.want("OK", "SET", "volatile", strings.Repeat("v", 1000), "EX", "1000")
					e.limit(e.server.usedMemory() - 1)
					e.want("OK", "SET", fmt.Sprint("stay:new:", i), "")
					e.want("none", "TYPE", "volatile")
					e.limit(0)
				}
				if n := e.info("evicted_keys"); n != rounds {
					t.Errorf("%d keys were evicted in %d rounds", n, rounds)
				}
				e.want(fmt.Sprintf("(integer) %d", tt.persistent+rounds), "DBSIZE")
			})
		})
	}
}
