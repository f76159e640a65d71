package client_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/client/goredis"
	"github.com/neargrid/neargrid/internal/testredis"
)

// BenchmarkClients measures this client beside go-redis and rueidis, in one run against one node: GET and SET of 64 bytes by 1 and by
// 50 goroutines, and pipelines of 16.
//
//	go test ./client -run '^$' -bench Clients -benchtime 2s
func BenchmarkClients(b *testing.B) {
	server := testredis.StartNeargrid(b)
	ctx := context.Background()
	near, err := client.Connect(ctx, []string{server.Addr}, client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer near.Close()
	gored := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer gored.Close()
	rue, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true})
	if err != nil {
		b.Fatal(err)
	}
	defer rue.Close()
	value := strings.Repeat("x", 64)
	if err := near.Set(ctx, "key", value, 0); err != nil {
		b.Fatal(err)
	}

	const batch = 16
	for _, op := range []struct {
		name    string
		perCall int
		ours    func() error
		goredis func() error
		rueidis func() error
	}{
		{"get", 1,
			func() error { _, err := near.Get(ctx, "key"); return err },
			func() error { return gored.Get(ctx, "key").Err() },
			func() error { _, err := rue.Do(ctx, rue.B().Get().Key("key").Build()).ToString(); return err },
		},
		{"set", 1,
			func() error { return near.Set(ctx, "key", value, 0) },
			func() error { return gored.Set(ctx, "key", value, 0).Err() },
			func() error { return rue.Do(ctx, rue.B().Set().Key("key").Value(value).Build()).Error() },
		},
		{"pipeline16", batch,
			func() error {
				p := near.Pipeline()
				for range batch {
					p.Do("GET", "key")
				}
				_, err := p.Exec(ctx)
				return err
			},
			func() error {
				p := gored.Pipeline()
				for range batch {
					p.Get(ctx, "key")
				}
				_, err := p.Exec(ctx)
				return err
			},
			func() error {
				cmds := make(rueidis.Commands, 0, batch)
				for range batch {
					cmds = append(cmds, rue.B().Get().Key("key").Build())
				}
				for _, r := range rue.DoMulti(ctx, cmds...) {
					if err := r.Error(); err != nil {
						return err
					}
				}
				return nil
			},
		},
	} {
		for _, goroutines := range []int{1, 50} {
			for _, lib := range []struct {
				name string
				do   func() error
			}{{"neargrid", op.ours}, {"go-redis", op.goredis}, {"rueidis", op.rueidis}} {
				b.Run(fmt.Sprintf("%s/%d/%s", op.name, goroutines, lib.name), func(b *testing.B) {
					b.ReportAllocs()
					spread(b, goroutines, lib.do)
					b.ReportMetric(float64(b.N*op.perCall)/b.Elapsed().Seconds(), "commands/s")
				})
			}
		}
	}
}

// BenchmarkUnixSocket measures GET over a node's Unix socket, the way to a sidecar, beside go-redis and rueidis: by goroutines that share a
// connection, and by one whose contexts have a deadline.
//
//	go test ./client -run '^$' -bench UnixSocket -count 6
func BenchmarkUnixSocket(b *testing.B) {
	path := filepath.Join(b.TempDir(), "grid.sock")
	testredis.StartNeargrid(b, "--unixsocket", path)
	ctx := context.Background()
	near, err := client.Connect(ctx, []string{path}, client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer near.Close()
	gored := redis.NewClient(&redis.Options{Network: "unix", Addr: path})
	defer gored.Close()
	rue, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{path}, DisableCache: true,
		DialCtxFn: func(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer rue.Close()
	if err := near.Set(ctx, "key", strings.Repeat("x", 100), 0); err != nil {
		b.Fatal(err)
	}
	libs := []struct {
		name string
		get  func(ctx context.Context) error
	}{
		{"neargrid", func(ctx context.Context) error { _, err := near.Get(ctx, "key"); return err }},
		{"go-redis", func(ctx context.Context) error { return gored.Get(ctx, "key").Err() }},
		{"rueidis", func(ctx context.Context) error { return rue.Do(ctx, rue.B().Get().Key("key").Build()).Error() }},
	}
	for _, goroutines := range []int{1, 2, 4, 50} {
		for _, lib := range libs {
			b.Run(fmt.Sprintf("%d/%s", goroutines, lib.name), func(b *testing.B) {
				b.ReportAllocs()
				spread(b, goroutines, func() error { return lib.get(ctx) })
			})
		}
	}
	for _, lib := range libs {
		b.Run("deadline/"+lib.name, func(b *testing.B) {
			b.ReportAllocs()
			spread(b, 1, func() error {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				return lib.get(ctx)
			})
		})
	}
}

// spread has goroutines share b.N calls, each the same number of them.
func spread(b *testing.B, goroutines int, do func() error) {
	var wg sync.WaitGroup
	for g := range goroutines {
		calls := b.N / goroutines
		if g < b.N%goroutines {
			calls++
		}
		wg.Go(func() {
			for range calls {
				if err := do(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkNearHit measures a read that memory answers: this client's near cache, the same through the go-redis hook, and the
// client-side caches of rueidis and go-redis, on one redis-server, by 1 and by 50 goroutines.
func BenchmarkNearHit(b *testing.B) {
	server := testredis.Start(b)
	ctx := context.Background()
	o := client.NearCache{Prefixes: []string{""}, Staleness: time.Second}
	near, err := client.Connect(ctx, []string{server.Addr}, client.Options{NearCache: &o})
	if err != nil {
		b.Fatal(err)
	}
	defer near.Close()
	hooked := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer hooked.Close()
	attached, err := goredis.Attach(ctx, hooked, o)
	if err != nil {
		b.Fatal(err)
	}
	defer attached.Close()
	cached := redis.NewClient(&redis.Options{Addr: server.Addr, ClientSideCacheConfig: &redis.ClientSideCacheConfig{}})
	defer cached.Close()
	rue, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}})
	if err != nil {
		b.Fatal(err)
	}
	defer rue.Close()
	if err := near.Set(ctx, "key", strings.Repeat("x", 100), 0); err != nil {
		b.Fatal(err)
	}
	for _, lib := range []struct {
		name string
		do   func() error
	}{
		{"neargrid", func() error { _, err := near.Get(ctx, "key"); return err }},
		{"neargrid-in-go-redis", func() error { return hooked.Get(ctx, "key").Err() }},
		{"rueidis", func() error {
			_, err := rue.DoCache(ctx, rue.B().Get().Key("key").Cache(), time.Hour).ToString()
			return err
		}},
		{"go-redis", func() error { return cached.Get(ctx, "key").Err() }},
	} {
		for _, goroutines := range []int{1, 50} {
			b.Run(fmt.Sprintf("%d/%s", goroutines, lib.name), func(b *testing.B) {
				b.ReportAllocs()
				spread(b, goroutines, lib.do)
			})
		}
	}
}
