package loadtest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

const realRecords = 5000

// stored is a target with the records in it.
func stored(t testing.TB, target *RESP) *RESP {
	t.Helper()
	target.Prefix, target.Verify, target.Sizes = "load:", true, FixedSize(100)
	m, err := Run(t.Context(), Options{Target: target, Workload: workload(t, "a", realRecords).LoadPhase(), Clients: 4, Depth: 32})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil || m.Operations() != realRecords {
		t.Fatalf("%d of %d records stored: %v", m.Operations(), realRecords, err)
	}
	return target
}

// runFor measures for real; nothing may go wrong, whatever the machine is doing.
func runFor(t *testing.T, name string, o Options) *Measured {
	t.Helper()
	m, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := m.Check(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if m.Operations() == 0 || m.PerSecond() == 0 || m.Quantile(50) <= 0 || m.Quantile(100) > time.Minute {
		t.Fatalf("%s: %d operations, p50 %s, max %s", name, m.Operations(), m.Quantile(50), m.Quantile(100))
	}
	return m
}

func TestRedisServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis.sock")
	server := testredis.Start(t, "--unixsocket", socket)
	realRuns(t, server, socket)
}

func TestNeargridServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "neargrid.sock")
	server := testredis.StartNeargrid(t, "--unixsocket", socket)
	realRuns(t, server, socket)
}

func realRuns(t *testing.T, server *testredis.Server, socket string) {
	target := stored(t, &RESP{Addr: server.Addr})

	// A second of each loop.
	m := runFor(t, "closed", Options{Target: target, Workload: workload(t, "a", realRecords), Clients: 8, Depth: 4, Duration: time.Second})
	if m.Misses() > 0 || m.Hits() == 0 || m.Took < 900*time.Millisecond {
		t.Errorf("closed loop: %d found, %d not, in %s", m.Hits(), m.Misses(), m.Took)
	}
	m = runFor(t, "open", Options{Target: target, Workload: workload(t, "b", realRecords), Clients: 8, Rate: 1000, WarmUp: 100 * time.Millisecond, Duration: time.Second})
	if got := m.Operations(); got < 850 || got > 1150 { // Poisson: 1000, more or less 32
		t.Errorf("open loop: %d operations, want about 1000", got)
	}

	for _, name := range []string{"c", "d", "e", "f"} {
		m := runFor(t, name, Options{Target: target, Workload: workload(t, name, realRecords), Clients: 4, Depth: 2, Duration: 200 * time.Millisecond})
		if share := float64(m.Misses()) / float64(m.Hits()+m.Misses()); share > 0.001 {
			t.Errorf("workload %s: %.2f %% of the records were not found", name, 100*share)
		}
	}

	runFor(t, "Unix socket", Options{Target: target.At(socket, TargetForm{}), Workload: workload(t, "a", realRecords), Clients: 2, Depth: 1, Duration: 100 * time.Millisecond})

	through := target.At(server.Addr, TargetForm{})
	through.Prefix, through.ReadThrough, through.Source, through.TTL = "through:", true, time.Millisecond, time.Hour
	w := workload(t, "c", 100)
	w.Choice, w.Limit = Sequential, 300
	m = runFor(t, "read-through", Options{Target: through, Workload: w, Clients: 1, Depth: 1})
	if m.Misses() != 100 || m.Hits() != 200 {
		t.Errorf("read-through: %d not found, %d found, want 100 and 200", m.Misses(), m.Hits())
	}
	conn := server.Dial(t)
	if ttl := conn.Do(t, "TTL", "through:000000000000"); ttl.Int() < 3500 || ttl.Int() > 3600 {
		t.Errorf("TTL %+v, want an hour", ttl)
	}

	// What another program has stored is no value of ours.
	conn.Do(t, "SET", "load:000000000000", "else")
	wrong, err := Run(t.Context(), Options{Target: target, Workload: func() Workload {
		w := workload(t, "c", 1)
		w.Limit = 10
		return w
	}(), Clients: 1, Depth: 1})
	if count, _ := wrong.failure(WrongReply); err != nil || count != 10 {
		t.Errorf("%d wrong replies of 10, %v", count, err)
	}
}

// A password is asked for, and given.
func TestPassword(t *testing.T) {
	server := testredis.Start(t, "--requirepass", "secret")
	_, err := Run(t.Context(), Options{Target: &RESP{Addr: server.Addr, Sizes: FixedSize(1)}, Workload: workload(t, "a", 10), Clients: 1, Depth: 1, Duration: time.Second})
	if want := "cannot use " + server.Addr + ": NOAUTH Authentication required."; err == nil || err.Error() != want {
		t.Errorf("without a password: %v, want %s", err, want)
	}
	stored(t, &RESP{Addr: server.Addr, Password: "secret"})
}

// In a cluster commands go to the owner of their key.
func TestRealCluster(t *testing.T) {
	redis := testredis.Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
	conn := redis.Dial(t)
	conn.Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	retry, deadline := time.NewTicker(20*time.Millisecond), time.After(20*time.Second)
	defer retry.Stop()
	for conn.Do(t, "SET", "k", "v").Kind != testredis.Simple {
		select {
		case <-retry.C:
		case <-deadline:
			t.Fatal("the cluster of one does not come up")
		}
	}
	target := stored(t, &RESP{Addr: redis.Addr, Cluster: true})
	runFor(t, "redis cluster", Options{Target: target, Workload: workload(t, "a", realRecords), Clients: 2, Depth: 2, Duration: 200 * time.Millisecond})

	door := freeAddr(t)
	testredis.StartNeargrid(t, "--cluster-listen", door)
	target = stored(t, &RESP{Addr: door, Cluster: true})
	runFor(t, "cluster door", Options{Target: target, Workload: workload(t, "a", realRecords), Clients: 2, Depth: 2, Duration: 200 * time.Millisecond})
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TLS: a server that ends it in front of redis-server.
func TestTLS(t *testing.T) {
	server := testredis.Start(t)
	certificate, pool := testredis.SelfSigned(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			secured, err := l.Accept()
			if err != nil {
				return
			}
			plain, err := net.Dial("tcp", server.Addr)
			if err != nil {
				secured.Close()
				continue
			}
			go func() { io.Copy(plain, secured); plain.Close() }()
			go func() { io.Copy(secured, plain); secured.Close() }()
		}
	}()
	defer func() { l.Close(); <-ended }()
	target := stored(t, &RESP{Addr: l.Addr().String(), TLS: &tls.Config{RootCAs: pool}})
	runFor(t, "TLS", Options{Target: target, Workload: workload(t, "a", realRecords), Clients: 2, Depth: 2, Duration: 100 * time.Millisecond})

	target.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	if _, err := Run(t.Context(), Options{Target: target, Workload: workload(t, "a", 10), Clients: 1, Depth: 1, Duration: time.Second}); err == nil {
		t.Error("a certificate that nobody vouches for was taken")
	}
}

// BenchmarkGenerate shows what the generator costs: operations a second for each core that it uses, against a redis-server of its
// own process.
func BenchmarkGenerate(b *testing.B) {
	server := testredis.Start(b)
	target := stored(b, &RESP{Addr: server.Addr})
	for _, c := range []struct {
		clients, depth int
		rate           float64
	}{{50, 1, 0}, {8, 16, 0}, {8, 64, 0}, {50, 0, 20_000}, {50, 0, 100_000}} {
		name := "closed/" + strconv.Itoa(c.clients) + "x" + strconv.Itoa(c.depth)
		if c.rate > 0 {
			name = fmt.Sprintf("open/%g", c.rate)
		}
		b.Run(name, func(b *testing.B) {
			w := workload(b, "b", realRecords)
			w.Limit = uint64(b.N)
			o := Options{Target: target, Workload: w, Clients: c.clients, Depth: c.depth, Rate: c.rate}
			used, began := processorTime(), time.Now()
			m, err := Run(b.Context(), o)
			used, took := processorTime()-used, time.Since(began)
			if err == nil {
				err = m.Check()
			}
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/used.Seconds(), "ops/core-s")
			b.ReportMetric(float64(b.N)/took.Seconds(), "ops/s")
		})
	}
}
