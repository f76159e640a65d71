package cluster

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// echo answers at once, with the last argument.
type echo struct{}

func (echo) Execute(_ core.Member, f *Forwarded, answer func(Answer)) {
	answer(Answer{Reply: f.Args[len(f.Args)-1]})
}
func (echo) Gone(core.Member) {}

// BenchmarkForward has 50 callers each wait for a command's answer before they send the next: over loopback, and in memory, where
// the network costs more than the system's.
func BenchmarkForward(b *testing.B) {
	mem := NewMemNetwork()
	for _, network := range []struct {
		name string
		host func(i int) (Network, string)
	}{
		{"sockets", func(int) (Network, string) { return Sockets(), "127.0.0.1:0" }},
		{"memory", func(i int) (Network, string) {
			ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}).String()
			return mem.Host(ip), ip + ":7000"
		}},
	} {
		for _, depth := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/depth=%d", network.name, depth), func(b *testing.B) { benchForward(b, network.host, depth) })
		}
	}
}

func benchForward(b *testing.B, host func(int) (Network, string), depth int) {
	table := &core.Table{Version: 1}
	began := time.Now()
	var forwarders [2]*Forwarder
	for i, name := range []string{"a", "b"} {
		network, listen := host(i)
		tr, err := OpenTransport(b.Context(), TransportConfig{Network: network, Listen: listen, Identity: identity(name), Keys: rightKeys})
		if err != nil {
			b.Fatal(err)
		}
		defer tr.Close()
		id := identity(name).Member
		table.Nodes = append(table.Nodes, core.Node{ID: id.Node, Inc: id.Inc, Peer: tr.Addr().String()})
		forwarders[i] = NewForwarder(ForwarderConfig{
			Transport: tr, Table: func() *core.Table { return table }, Now: func() time.Duration { return time.Since(began) }, Executor: echo{},
		})
		defer forwarders[i].Close()
	}
	const callers = 50
	args := [][]byte{[]byte("SET"), []byte("key:000000012345"), make([]byte, 64)}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range callers {
		count := b.N / callers
		if i < b.N%callers {
			count++
		}
		wg.Go(func() {
			answers := make(chan Outcome, depth)
			done := func(a Answer) { answers <- a.Outcome }
			for sent, got := 0, 0; got < count; got++ {
				for ; sent < count && sent-got < depth; sent++ {
					f := &Forwarded{Session: uint64(i + 1), Partition: 7, Resp: 2, Timeout: 5 * time.Second, Args: args}
					forwarders[0].Forward("b", f, done)
				}
				if o := <-answers; o != Executed {
					b.Errorf("outcome %d", o)
					return
				}
			}
		})
	}
	wg.Wait()
}
