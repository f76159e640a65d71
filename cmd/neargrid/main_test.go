package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/server"
)

// built is the program under test, built once.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "neargrid-test-")
	if err != nil {
		panic(err)
	}
	built = filepath.Join(dir, "neargrid")
	if out, err := exec.Command("go", "build", "-o", built, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("go build: %v\n%s", err, out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	testredis.Exit(code)
}

// waitMax is how long a test waits for something that comes at once unless it is broken.
const waitMax = 20 * time.Second

// command makes a run of the program in a directory of its own, with an environment of its own.
func program(t *testing.T, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"TMPDIR=" + dir, "HOME=" + dir}, env...)
	return cmd
}

// process is a program that serves.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string
	stdout bytes.Buffer
	stderr *bufio.Reader
	before string // what it logged before it was ready
	ready  string // the line that told addr
}

var readyLine = regexp.MustCompile(`msg=ready (?:node_number=1 )?listen=(\S+)`)

// serve starts neargrid server at a free port and waits until it is ready.
func serve(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return start(t, program(t, dir, env, append([]string{"server"}, args...)...))
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	n := &process{t: t, cmd: cmd}
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = &n.stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	n.stderr = bufio.NewReader(pipe)
	n.before = n.readTo("msg=ready")
	n.before, n.ready = splitLast(n.before)
	found := readyLine.FindStringSubmatch(n.ready)
	if found == nil {
		t.Fatalf("%v is not ready:\n%s%s", cmd.Args, n.before, n.ready)
	}
	n.addr = found[1]
	return n
}

// readTo reads the log up to a line that has some text in it.
func (n *process) readTo(text string) string {
	n.t.Helper()
	var got strings.Builder
	for {
		line, err := n.stderr.ReadString('\n')
		got.WriteString(line)
		if err != nil {
			n.t.Fatalf("%v: %v, and no %q in its log:\n%s", n.cmd.Args, err, text, got.String())
		}
		if strings.Contains(line, text) {
			return got.String()
		}
	}
}

// splitLast divides lines into the last one and those before it.
func splitLast(lines string) (before, last string) {
	i := strings.LastIndexByte(strings.TrimSuffix(lines, "\n"), '\n') + 1
	return lines[:i], lines[i:]
}

// dial connects to the node.
func (n *process) dial() net.Conn {
	n.t.Helper()
	return dial(n.t, "tcp", n.addr)
}

func dial(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(waitMax))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends one inline command and returns the reply, up to the client's own ending: QUIT is not there everywhere, so the
// reply to an unknown command marks the end.
func ask(t *testing.T, conn net.Conn, command string) string {
	t.Helper()
	fmt.Fprintf(conn, "%s\r\nno-such-command\r\n", command)
	var got strings.Builder
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v after %q", command, err, got.String())
		}
		if strings.Contains(line, "no-such-command") {
			return strings.TrimSuffix(strings.ReplaceAll(got.String(), "\r\n", " "), " ")
		}
		got.WriteString(line)
	}
}

// stop sends a signal and returns the exit code and the rest of stderr.
func (n *process) stop(s os.Signal) (code int, stderr string) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
	return n.wait()
}

func (n *process) wait() (code int, stderr string) {
	n.t.Helper()
	timer := time.AfterFunc(waitMax, func() { n.cmd.Process.Kill() })
	defer timer.Stop()
	rest, _ := io.ReadAll(n.stderr)
	n.cmd.Wait()
	return n.cmd.ProcessState.ExitCode(), string(rest)
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// listenBelow listens on a port that is not above some number.
func listenBelow(t *testing.T, port int) net.Listener {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l.Addr().(*net.TCPAddr).Port <= port {
			return l
		}
		defer l.Close() // so that the next is another
	}
}

// Every mistake is one line that says what to do, and an exit code.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	taken := listenBelow(t, portMax-peerPortStep-3)
	defer taken.Close()
	used := taken.Addr().String()
	_, usedPort, _ := net.SplitHostPort(used)
	writeFile(t, dir, "empty", "\n")
	writeFile(t, dir, "file", "not a directory\n")
	writeFile(t, dir, "bad-flag.conf", "# a comment\n\nlisten 127.0.0.1\n")
	writeFile(t, dir, "bad-name.conf", "maxmemory-polcy allkeys-lru\n")
	writeFile(t, dir, "bad-value.conf", "maxmemory-policy lru\n")
	writeFile(t, dir, "bad-constant.conf", "maxmemory 1gb\nappendonly yes\n")
	writeFile(t, dir, "bad-quotes.conf", "unixsocket \"/run/x\n")
	writeFile(t, dir, "short", "word\n")
	writeFile(t, dir, "nested.conf", "config other.conf\n")
	if err := os.Mkdir(filepath.Join(dir, "bad-id"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "bad-id/node-id", "me\n")

	for _, test := range []struct {
		args string
		env  string
		code int
		want string
	}{
		{"", "", 2, "neargrid: a command is missing: 'neargrid dev' starts a grid to try, 'neargrid help' lists all"},
		{"serve", "", 2, "neargrid: there is no command 'serve': 'neargrid help' lists all"},
		{"sidecar", "", 2, "neargrid sidecar: name nodes of the grid with --join, for example --join 10.0.0.1:6379,10.0.0.2:6379"},
		{"sidecar --join here", "", 2, `neargrid sidecar: --join "here": write HOST:PORT, for example 10.0.0.1:6379,10.0.0.2:6379`},
		{"sidecar --join x:1 --listen off", "", 2, `neargrid sidecar: --listen "off": needs --unixsocket, or clients have no way in`},
		{"sidecar --join x:1 --listen 0.0.0.0:0", "", 2, "neargrid sidecar: other machines could connect to 0.0.0.0:0 without a password: set one with --requirepass-file, listen on 127.0.0.1, or give --insecure"},
		{"sidecar --join x:1 --near-memory 5", "", 2, `neargrid sidecar: --near-memory "5": write a size such as 64mb, at least 1048576 bytes`},
		{"sidecar --join x:1 --staleness 5", "", 2, `neargrid sidecar: --staleness "5": write a time from 10ms to 1h`},
		{"sidecar --join x:1 --username me", "", 2, `neargrid sidecar: --username "me": needs --password-file`},
		{"sidecar --join x:1 --tls-ca empty", "", 2, `neargrid sidecar: --tls-ca "empty": needs --tls`},
		{"sidecar --join x:1 --tls --tls-ca empty", "", 2, `neargrid sidecar: --tls-ca "empty": there is no certificate in it`},
		{"help serve", "", 2, "neargrid help: there is no command 'serve': 'neargrid help' lists all"},
		{"server --port 1", "", 2, "neargrid server: there is no flag --port; 'neargrid help server' lists the flags"},
		{"server --listen", "", 2, "neargrid server: --listen needs a value; 'neargrid help server' lists the flags"},
		{"server 6379", "", 2, `neargrid server: "6379" is not a flag; 'neargrid help server' lists the flags`},
		{"server --listen 6379", "", 2, `neargrid server: --listen "6379": write HOST:PORT, for example 127.0.0.1:6379`},
		{"server --listen 127.0.0.1:70000", "", 2, `neargrid server: --listen "127.0.0.1:70000": the port is a number from 0 to 65535`},
		{"server --listen off", "", 2, `neargrid server: --listen "off": needs --unixsocket, or clients have no way in`},
		{"server --listen 0.0.0.0:0", "", 2, "neargrid server: other machines could connect to 0.0.0.0:0 without a password: set one with --requirepass-file, listen on 127.0.0.1, or give --insecure"},
		{"server --maxmemory 2tb", "", 2, `neargrid server: --maxmemory "2tb": write a size such as 100mb or 2gb, or 0 for no limit`},
		{"server --maxmemory -1", "", 2, `neargrid server: --maxmemory "-1": write a size such as 100mb or 2gb, or 0 for no limit`},
		{"server --maxmemory 99999999999gb", "", 2, `neargrid server: --maxmemory "99999999999gb": write a size such as 100mb or 2gb, or 0 for no limit`},
		{"server --partitions 100", "", 2, `neargrid server: --partitions "100": write a power of two from 1 to 16384`},
		{"server --partitions 32768", "", 2, `neargrid server: --partitions "32768": write a power of two from 1 to 16384`},
		{"server --partitions 0", "", 2, `neargrid server: --partitions "0": write a power of two from 1 to 16384`},
		{"server --io-loops -1", "", 2, `neargrid server: --io-loops "-1": write a number from 0 to 1024`},
		{"server --insecure=perhaps", "", 2, `neargrid server: --insecure "perhaps": write yes or no`},
		{"server --requirepass-file none", "", 2, "neargrid server: cannot read the password file: open none: no such file or directory"},
		{"server --requirepass-file empty", "", 2, "neargrid server: the password file empty is empty: write the password on its first line"},
		{"server --config none", "", 2, "neargrid server: cannot read the configuration file: open none: no such file or directory"},
		{"server --config .", "", 2, "neargrid server: cannot read the configuration file .: read .: is a directory"},
		{"server --config bad-flag.conf", "", 2, `neargrid server: bad-flag.conf:3: listen "127.0.0.1": write HOST:PORT, for example 127.0.0.1:6379`},
		{"server --listen 127.0.0.1:0 --config bad-name.conf", "", 2, "neargrid server: bad-name.conf:1: maxmemory-polcy: unknown setting"},
		{"server --listen 127.0.0.1:0 --config bad-value.conf", "", 2, "neargrid server: bad-value.conf:1: maxmemory-policy: argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction"},
		{"server --listen 127.0.0.1:0 --config bad-constant.conf", "", 2, "neargrid server: bad-constant.conf:2: appendonly: can't set immutable config"},
		{"server --listen 127.0.0.1:0 --enable-debug-command perhaps", "", 2, "neargrid server: --enable-debug-command: argument(s) must be one of the following: no, yes, local"},
		{"server --config bad-quotes.conf", "", 2, "neargrid server: bad-quotes.conf:1: the quotes around the value of unixsocket do not match"},
		{"server --config nested.conf", "", 2, "neargrid server: nested.conf:1: config cannot stand in the file itself"},
		{"server --data-dir file/x", "", 1, "neargrid server: cannot make the data directory (choose another with --data-dir): mkdir file: not a directory"},
		{"server --data-dir bad-id --listen 127.0.0.1:0", "", 1, "neargrid server: bad-id/node-id does not hold a node id: restore it, or remove it to make this a new node"},
		{"server", "NEARGRID_LISTEN=here", 2, `neargrid server: NEARGRID_LISTEN "here": write HOST:PORT, for example 127.0.0.1:6379`},
		{"server", "NEARGRID_JOIN=10.0.0.1", 2, `neargrid server: NEARGRID_JOIN "10.0.0.1": write HOST:PORT, for example 10.0.0.1:16379,10.0.0.2:16379`},
		{"server --listen 127.0.0.1:60000", "", 2, `neargrid server: --listen "127.0.0.1:60000": there is no port 10000 above it: give --peer-listen as well`},
		{"server --listen 127.0.0.1:65000 --peer-listen 127.0.0.1:0", "", 2, `neargrid server: --listen "127.0.0.1:65000": there is no port 1000 above it: give --cluster-listen as well`},
		{"server --peer-listen here", "", 2, `neargrid server: --peer-listen "here": write HOST:PORT, for example 127.0.0.1:6379; or off`},
		{"server --peer-listen off --join 10.0.0.1:16379", "", 2, `neargrid server: --join "10.0.0.1:16379": needs a peer port, and there is none: give --peer-listen`},
		{"server --role king", "", 2, `neargrid server: --role "king": write data or witness`},
		{"server --role witness", "", 2, `neargrid server: --role "witness": a grid begins with a node that holds data: give --join without --create`},
		{"server --profile fast", "", 2, `neargrid server: --profile "fast": write cache or safe`},
		{"server --on-total-loss weep", "", 2, `neargrid server: --on-total-loss "weep": write error or reset`},
		{"server --advertise host:1", "", 2, `neargrid server: --advertise "host:1": write a host name or an IP address, without a port`},
		{"server --secret-file none", "", 2, "neargrid server: cannot read the secret file: open none: no such file or directory"},
		{"server --secret-file short", "", 2, `neargrid server: --secret-file "short": the secret has 4 bytes, and needs at least 16: make one with ` + "`openssl rand -hex 32`"},
		{"server --listen 127.0.0.1:0 --peer-listen 0.0.0.0:0", "", 2, "neargrid server: other machines could join the grid at 0.0.0.0:0 without a secret: set one with --secret-file, listen for peers on 127.0.0.1 with --peer-listen, give --insecure, or --peer-listen off for a node that stays alone"},
		{"server --listen 127.0.0.1:0 --peer-listen " + used, "", 1, "neargrid server: listen on " + used + ": address in use: stop the program that has it, or choose another port with --peer-listen"},
		{"server --listen 127.0.0.1:0 --cluster-listen " + used, "", 1, "neargrid server: listen on " + used + ": address in use: stop the program that has it, or choose another port with --cluster-listen"},
		{"server", "NEARGRID_LOG=xml", 2, `neargrid server: NEARGRID_LOG "xml": write text or json`},
		{"server --listen 127.0.0.1:0", "NEARGRID_LOG_LEVEL=info", 2, "neargrid server: NEARGRID_LOG_LEVEL: argument(s) must be one of the following: debug, verbose, notice, warning"},
		{"server --listen 127.0.0.1:0", "NEARGRID_PPROF=0.0.0.0:6060", 2, `neargrid server: NEARGRID_PPROF "0.0.0.0:6060": write a loopback address, for example 127.0.0.1:6060`},
		{"dev --nodes 65", "", 2, `neargrid dev: --nodes "65": write a number from 1 to 64`},
		{"dev --profile fast", "", 2, `neargrid dev: --profile "fast": write cache or safe`},
		{"dev --port x", "", 2, `neargrid dev: --port "x": write a number from 0 to 55533`},
		{"status --addr here", "", 2, `neargrid status: --addr "here": write HOST:PORT, for example 127.0.0.1:6379`},
		{"status --addr 127.0.0.1:1", "", 1, "neargrid status: cannot reach 127.0.0.1:1 (name a node with --addr): connection refused"},
		{"drain --wait=perhaps", "", 2, `neargrid drain: --wait "perhaps": write yes or no`},
		{"recover --new-control-plane --addr 127.0.0.1:1", "", 1, "neargrid recover: cannot reach 127.0.0.1:1 (name a node with --addr): connection refused"},
		{"recover --new-control-plane --accept-data-loss 1", "", 2, `neargrid recover: --accept-data-loss "1": begin the control plane first; only then can losses be accepted`},
		{"recover --accept-data-loss 1", "", 2, `neargrid recover: --accept-data-loss "1": say with --dead which starts of nodes had them last and are off; 'neargrid recover' lists them`},
		{"recover --dead x/1", "", 2, `neargrid recover: --dead "x/1": say with --accept-data-loss which partitions are given up, or give --new-control-plane`},
		{"recover --accept-data-loss 3-1 --dead x/1", "", 2, `neargrid recover: --accept-data-loss "3-1": write partitions as in 0-7,12`},
		{"server --listen " + used, "", 1, "neargrid server: listen on " + used + ": address in use: stop the program that has it, or choose another port with --listen"},
		{"server --listen 127.0.0.1:0 --unixsocket file", "", 1, "neargrid server: listen on unix socket file: something that is not a socket is there: remove it, or choose another path with --unixsocket"},
		{"dev --nodes 1 --port " + usedPort, "", 1, "neargrid dev: port " + usedPort + " is in use: stop the program that has it, or choose other ports with --port"},
	} {
		cmd := program(t, dir, strings.Fields(test.env), strings.Fields(test.args)...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Run()
		logged, said := splitLast(stderr.String())
		if code := cmd.ProcessState.ExitCode(); code != test.code || said != test.want+"\n" || stdout.Len() > 0 || !isLog(logged) {
			t.Errorf("%s neargrid %s:\n got exit %d, %s%s\nwant exit %d, %s", test.env, test.args, code, stdout.String(), stderr.String(), test.code, test.want)
		}
	}
}

// isLog tells whether lines are those of a node that had begun to start.
func isLog(lines string) bool {
	for line := range strings.Lines(lines) {
		if !strings.HasPrefix(line, "time=") {
			return false
		}
	}
	return true
}

func TestHelp(t *testing.T) {
	for _, test := range []struct {
		args string
		want []string
	}{
		{"help", []string{"Usage: neargrid <command> [flags]", "dev  ", "server  ", "status  ", "drain  ", "recover  ", "load  ", "version  ", "redis-cli -p 6379"}},
		{"--help", []string{"Usage: neargrid <command> [flags]"}},
		{"server --help", []string{"Usage: neargrid server [flags]", "--listen HOST:PORT", "(default 127.0.0.1:6379)", "--maxmemory SIZE", "NEARGRID_DATA_DIR"}},
		{"help server", []string{"--requirepass-file FILE", "--insecure\n", "NEARGRID_PPROF"}},
		{"dev -h", []string{"Usage: neargrid dev [flags]", "--port PORT", "--nodes N"}},
		{"help help", []string{"Usage: neargrid <command> [flags]", "help  "}},
		{"help version", []string{"Usage: neargrid <command> [flags]", "version  "}},
		{"version", []string{"neargrid " + server.Version + " "}},
		{"--version", []string{"neargrid " + server.Version + " "}},
	} {
		var stdout, stderr bytes.Buffer
		code := execute(strings.Fields(test.args), environment{func(string) string { return "" }, nil, &stdout, &stderr})
		if code != exitOK || stderr.Len() > 0 {
			t.Errorf("neargrid %s: exit %d, stderr %q", test.args, code, stderr.String())
		}
		for _, want := range test.want {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("neargrid %s: %q is missing in\n%s", test.args, want, stdout.String())
			}
		}
	}
}

// The command line wins over the environment, that over the file, that over the default.
func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "grid.conf", "maxmemory 3mb\npartitions 8\nlisten 127.0.0.1:0\nmaxmemory-policy allkeys-lru\ntimeout \"77\"\n")
	n := serve(t, dir, []string{"NEARGRID_CONFIG=grid.conf", "NEARGRID_MAXMEMORY=2mb", "NEARGRID_PARTITIONS=16"}, "--maxmemory", "1mb")
	got := ask(t, n.dial(), "CONFIG GET maxmemory maxmemory-policy timeout hz")
	want := "*8 $9 maxmemory $7 1048576 $16 maxmemory-policy $11 allkeys-lru $7 timeout $2 77 $2 hz $2 10"
	if got != want {
		t.Errorf("settings:\n got %s\nwant %s", got, want)
	}
	if !strings.Contains(n.ready, "partitions=16 maxmemory=1048576") {
		t.Errorf("log says %s, want partitions=16 maxmemory=1048576", n.ready)
	}
}

func TestPassword(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "pass", "s3cret word\nsecond line\n")
	n := serve(t, dir, nil, "--listen", "127.0.0.1:0", "--peer-listen", "off", "--requirepass-file", "pass")
	if got, want := ask(t, n.dial(), "GET key"), "-NOAUTH Authentication required."; !strings.HasPrefix(got, want) {
		t.Errorf("GET without AUTH: got %q, want %q", got, want)
	}
}

func TestDataDirectory(t *testing.T) {
	dir := t.TempDir()
	n := serve(t, dir, nil, "--listen", "127.0.0.1:0", "--data-dir", "data")
	id, err := os.ReadFile(filepath.Join(dir, "data", nodeIDFile))
	if err != nil || !uuidForm.MatchString(strings.TrimSpace(string(id))) || !strings.HasSuffix(string(id), "\n") {
		t.Errorf("node id: %q, %v", id, err)
	}
	if !strings.Contains(n.ready, "node="+strings.TrimSpace(string(id))) {
		t.Errorf("the log does not name the node %s: %s", id, n.ready)
	}

	second := program(t, dir, nil, "server", "--listen", "127.0.0.1:0", "--data-dir", "data")
	out, _ := second.CombinedOutput()
	want := fmt.Sprintf("neargrid server: data directory data is used by process %d: stop it, or choose another with --data-dir\n", n.cmd.Process.Pid)
	if code := second.ProcessState.ExitCode(); code != 1 || string(out) != want {
		t.Errorf("second process in one data directory:\n got exit %d, %s\nwant exit 1, %s", code, out, want)
	}

	n.stop(syscall.SIGKILL) // a crash leaves the lock free, and the id in place
	again := serve(t, dir, nil, "--listen", "127.0.0.1:0", "--data-dir", "data")
	if kept, _ := os.ReadFile(filepath.Join(dir, "data", nodeIDFile)); !bytes.Equal(kept, id) || !strings.Contains(again.ready, strings.TrimSpace(string(id))) {
		t.Errorf("after a restart the node is %s, was %s", kept, id)
	}
}

// What was executed before the signal is answered, however much it is, and the exit code is 0.
func TestSignalDrains(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		n := serve(t, t.TempDir(), nil, "--listen", "127.0.0.1:0")
		const size = 24 << 20
		conn := n.dial()
		fmt.Fprintf(conn, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\nGET k\r\n", size, strings.Repeat("x", size))
		r := bufio.NewReader(conn)
		for _, want := range []string{"+OK\r\n", fmt.Sprintf("$%d\r\n", size)} {
			if got, err := r.ReadString('\n'); got != want {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
		}
		if err := n.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		n.readTo("msg=stopping")
		body, err := io.ReadAll(r)
		if err != nil || len(body) != size+2 {
			t.Errorf("%v while a reply was being read: got %d of its bytes, %v, want %d", s, len(body), err, size+2)
		}
		if code, stderr := n.wait(); code != 0 || !strings.Contains(stderr, "msg=stopped") {
			t.Errorf("%v: exit %d, %s, want exit 0, stopped", s, code, stderr)
		}
	}
}

// A client that does not read holds the drain up; a second signal does not wait for it.
func TestSecondSignal(t *testing.T) {
	n := serve(t, t.TempDir(), nil, "--listen", "127.0.0.1:0", "--peer-listen", "off")
	const size = 24 << 20
	conn := n.dial()
	fmt.Fprintf(conn, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\nGET k\r\n", size, strings.Repeat("x", size))
	r := bufio.NewReader(conn)
	r.ReadString('\n')
	r.ReadString('\n')
	n.cmd.Process.Signal(syscall.SIGTERM)
	n.readTo("msg=stopping")
	begin := time.Now()
	code, stderr := n.stop(syscall.SIGTERM)
	if want := "neargrid server: stopped at once by a second signal (terminated)\n"; code != 1 || !strings.HasSuffix(stderr, want) || time.Since(begin) > drainTime/2 {
		t.Errorf("second signal: exit %d after %v, %q, want exit 1 at once, %q", code, time.Since(begin), stderr, want)
	}
}

func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	n := serve(t, dir, nil, "--listen", "127.0.0.1:0", "--peer-listen", "off", "--unixsocket", "grid.sock")
	if got := ask(t, dial(t, "unix", filepath.Join(dir, "grid.sock")), "CONFIG GET unixsocket"); got != "*2 $10 unixsocket $9 grid.sock" {
		t.Errorf("CONFIG GET unixsocket over the socket: got %q", got)
	}
	n.stop(syscall.SIGTERM)
	if _, err := os.Stat(filepath.Join(dir, "grid.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket is still there after the end: %v", err)
	}
}

// SHUTDOWN ends the program as a signal does.
func TestShutdownCommand(t *testing.T) {
	n := serve(t, t.TempDir(), nil, "--listen", "127.0.0.1:0")
	conn := n.dial()
	fmt.Fprint(conn, "SHUTDOWN NOSAVE\r\n")
	if got, err := io.ReadAll(conn); err != nil || len(got) > 0 {
		t.Errorf("SHUTDOWN: got %q, %v, want the end of the connection", got, err)
	}
	if code, stderr := n.wait(); code != 0 || !strings.Contains(stderr, "msg=stopping why=SHUTDOWN") {
		t.Errorf("exit %d, %s, want exit 0, stopping because of SHUTDOWN", code, stderr)
	}
}

func TestLogs(t *testing.T) {
	dir := t.TempDir()
	cmd := program(t, dir, []string{"NEARGRID_LOG=json"}, "server", "--listen", "127.0.0.1:0")
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), `{"time":`) {
			t.Errorf("with NEARGRID_LOG=json: %s", lines.Text())
		}
		if strings.Contains(lines.Text(), `"msg":"ready"`) {
			return
		}
	}
	t.Error("it is not ready")
}

// NEARGRID_PPROF serves profiles at that address.
func TestProfiler(t *testing.T) {
	cmd := program(t, t.TempDir(), []string{"NEARGRID_PPROF=127.0.0.1:0"}, "server", "--listen", "127.0.0.1:0")
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	line, _ := bufio.NewReader(pipe).ReadString('\n')
	_, url, found := strings.Cut(strings.TrimSpace(line), "url=")
	if !found {
		t.Fatalf("the log does not tell the profiler's address: %s", line)
	}
	client := http.Client{Timeout: waitMax}
	reply, err := client.Get(url + "goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if body, _ := io.ReadAll(reply.Body); reply.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("goroutine profile")) {
		t.Errorf("%s: %s\n%s", url, reply.Status, body)
	}
}

// neargrid dev prints how to connect, and leaves nothing behind.
func TestDev(t *testing.T) {
	dir := t.TempDir()
	cmd := program(t, dir, []string{"NEARGRID_LOG_LEVEL=notice"}, "dev", "--port", "0")
	n := start(t, cmd)
	_, port, _ := net.SplitHostPort(n.addr)
	if got := ask(t, n.dial(), "SET k v"); got != "+OK" {
		t.Errorf("SET: got %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "neargrid-dev-*", "node-*", nodeIDFile)); len(left) != 3 {
		t.Errorf("temporary data directories while it runs: %v, want three", left)
	}
	if code, stderr := n.stop(syscall.SIGINT); code != 0 {
		t.Errorf("exit %d, %s", code, stderr)
	}
	for _, want := range []string{"neargrid is running at " + n.addr, "redis-cli -p " + port, `Addr: "` + n.addr + `"`, "redis.Redis(port=" + port + ")"} {
		if !strings.Contains(n.stdout.String(), want) {
			t.Errorf("%q is missing in\n%s", want, n.stdout.String())
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// README.md's table of flags is that of neargrid server, defaults included.
func TestReadmeFlags(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "| `--") {
			cells := strings.Split(line, "|")
			got = append(got, strings.Trim(cells[1], " `")+" = "+strings.Trim(cells[2], " `"))
		}
	}
	var want []string
	for _, f := range serverCommand.flags {
		want = append(want, strings.TrimSpace("--"+f.name+" "+f.placeholder)+" = "+f.value)
	}
	if !slices.Equal(got, want) {
		t.Errorf("flags in README.md:\n%s\nflags of neargrid server:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
