package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/loadtest"
)

// Every mistake of neargrid load is one line that says what to do.
func TestLoadMistakes(t *testing.T) {
	dir := t.TempDir()
	empty := writeFile(t, dir, "empty.txt", "")
	strange := writeFile(t, dir, "trace.csv", "1\n")
	trace := writeFile(t, dir, "trace.txt", "1\n")
	config := writeFile(t, dir, "load.conf", "records 10\nspeed 7\n")
	for args, want := range map[string]string{
		"--addr 6379":  `--addr "6379": ` + loadtest.TargetForms,
		"--addr a:1,b": `--addr "a:1,b": ` + loadtest.TargetForms,
		"--addr a:0":   `--addr "a:0": the port is a number from 1 to 65535`,
		"--addr " + strings.Repeat("a:1,", loadTargetsMax) + "a:1": `--addr "` + strings.Repeat("a:1,", loadTargetsMax) + `a:1": at most 6 targets are compared`,
		"--addr cluster:a:1 --workload e":                          `--addr "cluster:a:1": scans ask for keys of several slots in one command, which a cluster refuses: use another workload, or a plain door`,
		"--workload g":                                             `--workload "g": write a letter from a to f, load, or weights of read, update, insert, scan and rmw such as read=80,update=20`,
		"--workload load --load":                                   `--workload "load": stores each record once, in order: leave out --load, --keys, --theta and --trace`,
		"--workload load --operations 7":                           `--operations "7": the workload load stores --records, and ends`,
		"--records 0":                                              `--records "0": write a number from 1 to 1000000000000`,
		"--records many":                                           `--records "many": write a number from 1 to 1000000000000`,
		"--keys gauss":                                             `--keys "gauss": write uniform, zipf, latest or sequential, or name a trace with --trace`,
		"--keys trace":                                             `--keys "trace": write uniform, zipf, latest or sequential, or name a trace with --trace`,
		"--theta 0":                                                `--theta "0": write a number above 0, up to 10; 0.99 is usual`,
		"--theta 1 --keys uniform":                                 `--theta "1": is for keys chosen by zipf or latest`,
		"--trace " + empty:                                         `--trace: the trace ` + empty + ` is empty`,
		"--trace " + strange:                                       `--trace: the trace ` + strange + `: its form is not known: the name ends in .lis, .txt or .i64, or in one of these and .gz, .zst or .xz`,
		"--trace none.txt":                                         `--trace: cannot read the trace: open none.txt: no such file or directory`,
		"--trace " + trace + " --keys zipf":                        `--trace "` + trace + `": chooses the keys; leave out --keys`,
		"--trace " + trace + " --load":                             `--trace "` + trace + `": a trace has keys of its own: leave out --load, and have --read-through store what is missing`,
		"--value-size 0x10":                                        `--value-size "0x10": "0x10" is not a size in bytes, or a range of sizes, up to 67108864`,
		"--scan-max 5":                                             `--scan-max "5": the workload a has no scans`,
		"--scan-max 0 --workload e":                                `--scan-max "0": write a number from 1 to 10000`,
		"--source-latency 1ms":                                     `--source-latency "1ms": is for --read-through`,
		"--read-through --workload e":                              `--read-through "true": the workload e has no reads`,
		"--ttl 0s":                                                 `--ttl "0s": write a time such as 500ms, 10s or 5m, from 1ms to 8760h0m0s`,
		"--rate 0":                                                 `--rate "0": write how many operations arrive each second, such as 20000`,
		"--rate fast":                                              `--rate "fast": write how many operations arrive each second, such as 20000`,
		"--rate 10 --pipeline 4":                                   `--pipeline "4": is for a closed loop: leave out --rate`,
		"--rate 10 --arrivals late":                                `--arrivals "late": write poisson or even`,
		"--arrivals even":                                          `--arrivals "even": is for an open loop: give --rate`,
		"--in-flight 5":                                            `--in-flight "5": is for an open loop: give --rate`,
		"--rate 10 --in-flight 0":                                  `--in-flight "0": write a number from 1 to 1048576`,
		"--pipeline 0":                                             `--pipeline "0": write a number from 1 to 10000`,
		"--clients 0":                                              `--clients "0": write a number from 1 to 10000`,
		"--duration 0s":                                            `--duration "0s": write a time such as 500ms, 10s or 5m, from 1ms to 24h0m0s`,
		"--duration 10":                                            `--duration "10": write a time such as 500ms, 10s or 5m, from 1ms to 24h0m0s`,
		"--warm-up -1s":                                            `--warm-up "-1s": write a time such as 500ms, 10s or 5m, from 0s to 24h0m0s`,
		"--operations 0":                                           `--operations "0": write a number from 1 to 1000000000000`,
		"--rounds 0":                                               `--rounds "0": write a number from 1 to 100`,
		"--seed -1":                                                `--seed "-1": write a number from 0 on`,
		"--verify perhaps":                                         `--verify "perhaps": write yes or no`,
		"--tls-ca " + trace:                                        `--tls-ca "` + trace + `": is for targets that begin with tls:`,
		"--tls-ca " + trace + " --addr tls:a:1":                    `--tls-ca "` + trace + `": has no certificate in PEM form`,
		"--password-file none":                                     `cannot read the password file: open none: no such file or directory`,
		"--key-prefix " + strings.Repeat("x", 1025):                `--key-prefix "` + strings.Repeat("x", 1025) + `": at most 1024 bytes`,
		"--config " + config:                                       config + `:2: speed: 'neargrid help load' lists the flags, and this is none`,
		"--near-memory 64mb":                                       `--near-memory "64mb": is for targets that begin with near:`,
		"--near-prefixes a,b":                                      `--near-prefixes "a,b": is for targets that begin with near:`,
		"--near-staleness 1s":                                      `--near-staleness "1s": is for targets that begin with near:`,
		"--addr near:a:1 --near-memory 1kb":                        `--near-memory "1kb": write a size such as 64mb, at least 1048576 bytes`,
		"--addr near:a:1 --near-memory much":                       `--near-memory "much": write a size such as 64mb, at least 1048576 bytes`,
		"--addr near:a:1 --near-staleness 1ms":                     `--near-staleness "1ms": write a time such as 500ms, 10s or 5m, from 10ms to 1h0m0s`,
		"--addr near:cluster:a:1":                                  `--addr "near:cluster:a:1": behind near: write an address, of any node and any of its doors`,
		"--near-cache":                                             `there is no flag --near-cache; 'neargrid help load' lists the flags`,
	} {
		var stdout, stderr bytes.Buffer
		code := execute(strings.Fields("load "+args), environment{func(string) string { return "" }, nil, &stdout, &stderr})
		if got := stderr.String(); code != exitUsage || got != "neargrid load: "+want+"\n" || stdout.Len() > 0 {
			t.Errorf("neargrid load %.200s: exit %d\n got %.400s\nwant neargrid load: %.400s", args, code, got, want)
		}
	}
}

// The help says to a newcomer what to type.
func TestLoadHelp(t *testing.T) {
	var stdout bytes.Buffer
	if code := execute([]string{"load", "--help"}, environment{func(string) string { return "" }, nil, &stdout, &stdout}); code != exitOK {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{"neargrid load --load\n", "--rate 20000", "--addr TARGET,...", "(default 127.0.0.1:6379)", "--theta X", "Ctrl-C"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is missing in\n%s", want, stdout.String())
		}
	}
	for line := range strings.Lines(stdout.String()) {
		if len(line) > 132 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
}

// loadReport is what the tests look at of the JSON report.
type loadReport struct {
	Interrupted bool
	Command     string
	Targets     []struct {
		Target     string
		Operations uint64
		Errors     uint64
		Misses     uint64
		Latency    struct{ Count uint64 }
		Turns      []struct{}
	}
	Ratios []struct{ Throughput float64 }
}

func readReport(t *testing.T, text []byte) (r loadReport) {
	t.Helper()
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return r
}

// neargrid load stores records, measures two doors of a node in turn, and writes all reports.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "door.sock")
	n := serve(t, dir, nil, "--listen", "127.0.0.1:0", "--peer-listen", "off", "--cluster-listen", "off", "--unixsocket", socket)
	cmd := program(t, dir, nil, "load", "--addr", n.addr+","+socket, "--load", "--records", "2000", "--workload", "b", "--rate", "2000",
		"--clients", "4", "--warm-up", "100ms", "--duration", "500ms", "--rounds", "1", "--json", "r.json", "--html", "r.html")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"workload b: 2,000 records, keys zipf 0.99", "open loop: 2,000 operations/s", "\n" + n.addr + "\n", "100.00 % found", "against " + n.addr} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "r.json"))
	if err != nil {
		t.Fatal(err)
	}
	r := readReport(t, text)
	if len(r.Targets) != 2 || r.Targets[1].Target != socket || len(r.Ratios) != 1 || r.Interrupted || !strings.Contains(r.Command, "neargrid load --addr "+n.addr) {
		t.Errorf("report %+v", r)
	}
	for _, target := range r.Targets {
		if target.Operations < 500 || target.Errors > 0 || target.Misses > 0 {
			t.Errorf("%s: %+v, want about 1000 operations", target.Target, target)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "r.html"))
	if err != nil || !strings.Contains(string(page), "</html>") || !strings.Contains(string(page), n.addr) {
		t.Errorf("%v: page of %d bytes", err, len(page))
	}
	if got := ask(t, n.dial(), "DBSIZE"); got != ":2000" {
		t.Errorf("DBSIZE %s, want the records", got)
	}

	// JSON to standard output, and nothing else there.
	out, err = program(t, dir, nil, "load", "--addr", n.addr, "--workload", "load", "--records", "300", "--key-prefix", "x:", "--json", "-").Output()
	if r := readReport(t, out); err != nil || r.Targets[0].Operations != 300 {
		t.Errorf("the workload load: %v, %+v", err, r)
	}
	// Values that others have stored are errors, and no success at all is a failure.
	ask(t, n.dial(), "SET y:000000000000 else")
	cmd = program(t, dir, nil, "load", "--addr", n.addr, "--workload", "c", "--records", "1", "--key-prefix", "y:", "--operations", "5")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, _ = cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(string(out), "5 x wrong reply: read of y:000000000000: ") ||
		!strings.HasPrefix(stderr.String(), "neargrid load: "+n.addr+": no operation succeeded: ") || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("exit %d\n%s\n%s", code, &stderr, out)
	}
}

func TestLoadUnreachable(t *testing.T) {
	dir := t.TempDir()
	password := writeFile(t, dir, "password", "secret\n")
	n := serve(t, dir, nil, "--listen", "127.0.0.1:0", "--peer-listen", "off", "--cluster-listen", "off", "--requirepass-file", password)
	for _, c := range []struct{ args, want string }{
		{"--addr 127.0.0.1:1", "cannot use 127.0.0.1:1: connect: connection refused (name a server with --addr)\n"},
		{"--addr " + filepath.Join(dir, "none.sock"), "cannot use " + filepath.Join(dir, "none.sock") + ": connect: no such file or directory (name a server with --addr)\n"},
		{"--load --addr " + n.addr, "cannot use " + n.addr + ": NOAUTH Authentication required. (name a server with --addr)\n"},
		{"--addr cluster:" + n.addr + " --password-file password", "cannot use " + n.addr + ": ERR This instance has cluster support disabled (name a server with --addr)\n"},
	} {
		cmd := program(t, dir, nil, append([]string{"load"}, strings.Fields(c.args)...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, _ := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code != exitFailed || stderr.String() != "neargrid load: "+c.want || len(out) > 0 {
			t.Errorf("%s: exit %d, %q\n%s\nwant %q", c.args, code, &stderr, out, c.want)
		}
	}
	out, err := program(t, dir, nil, "load", "--addr", n.addr, "--password-file", "password", "--operations", "100", "--json", "-").Output()
	if r := readReport(t, out); err != nil || r.Targets[0].Operations != 100 {
		t.Errorf("with the password: %v, %+v", err, r)
	}
}

// Ctrl-C ends a run with the report of what was measured.
func TestLoadInterrupted(t *testing.T) {
	dir := t.TempDir()
	n := serve(t, dir, nil, "--listen", "127.0.0.1:0", "--peer-listen", "off", "--cluster-listen", "off")
	cmd := program(t, dir, nil, "load", "--addr", n.addr, "--workload", "update=1", "--clients", "2", "--warm-up", "0s", "--duration", "1h", "--json", "-")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(waitMax, func() { cmd.Process.Kill() })
	defer killer.Stop()
	conn := n.client()
	for count := int64(0); count < 100; { // it has begun
		reply, err := conn.do("DBSIZE")
		if err != nil {
			t.Fatal(err)
		}
		count = reply.Int
	}
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &stdout)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it ended after %s", took)
	}
	if r := readReport(t, stdout.Bytes()); !r.Interrupted || r.Targets[0].Operations < 100 || r.Targets[0].Errors > 0 {
		t.Errorf("report %+v", r)
	}
}

// Where standard error is no terminal, progress is a line every few seconds.
func TestLoadProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		line := newProgressLine(&out)
		for second := range 12 {
			time.Sleep(time.Second)
			line.measuring(loadtest.Progress{Target: "a:1", Elapsed: time.Duration(second) * time.Second, Last: loadtest.Second{Length: 1, Operations: uint64(second)}})
		}
		line.end()
		if got, want := out.String(), "a:1    4 s  4/s"; strings.Count(got, "\n") != 2 || !strings.HasPrefix(got, want) {
			t.Errorf("%q, want two lines, the first beginning with %q", got, want)
		}
		out.Reset()
		line.terminal = true
		line.measuring(loadtest.Progress{Target: "a:1", Last: loadtest.Second{Length: 1}})
		line.storing(loadtest.Progress{Target: "a:1", Last: loadtest.Second{Length: 1}})
		line.end()
		line.end()
		if got := out.String(); strings.Count(got, "\r") != 3 || strings.Contains(got, "\n") || !strings.Contains(got, "storing records: a:1") {
			t.Errorf("on a terminal: %s", strconv.Quote(got))
		}
	})
}

// A target with a near cache beside the same node without one: what memory answered is told.
func TestLoadNear(t *testing.T) {
	dir := t.TempDir()
	n := serve(t, dir, nil, "--listen", "127.0.0.1:0", "--peer-listen", "off", "--cluster-listen", "off")
	cmd := program(t, dir, nil, "load", "--addr", n.addr+",near:"+n.addr, "--load", "--records", "1000", "--workload", "c", "--clients", "2",
		"--near-memory", "4mb", "--near-staleness", "500ms", "--near-prefixes", "load:,other:", "--warm-up", "0s", "--duration", "300ms",
		"--rounds", "1", "--json", "r.json")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"\nnear:" + n.addr + "\n", "  near cache  ", "% answered from memory: "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "r.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"near_memory": 4194304`, `"near_staleness_seconds": 0.5`, `"near_prefixes": [`, `"hits": `, `--near-prefixes load:,other:`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
