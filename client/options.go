package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Options say how a Client connects. The zero value connects without a password, in plain text, and has no near cache.
type Options struct {
	// Username and Password are sent with HELLO on each connection. A password alone is that of the user "default".
	Username, Password string

	// ClientName is what CLIENT LIST shows of the connections.
	ClientName string

	// DB is the database that all commands use, from 0. Where keys are spread over cluster doors it must be 0, as in Redis Cluster.
	DB int

	// TLS, where it is set, encrypts the connections. Without ServerName, certificates are checked against the host connected to.
	TLS *tls.Config

	// DialTimeout bounds one attempt to connect, what is said before the first command included. 0 means 5 s.
	DialTimeout time.Duration

	// RetryTime is for how long a command that was not executed is tried again, within its context's deadline. 0 means 10 s;
	// negative, that it is not.
	RetryTime time.Duration

	// Direct has all commands go to the first address that answers, whatever it says of other nodes: for a sidecar, a proxy, or
	// nodes whose addresses are not reachable from here. Unix sockets are always talked to directly.
	Direct bool

	// GridDoors has commands go to the nodes' grid doors where there are some: they forward, and know all databases, where cluster doors
	// say MOVED.
	GridDoors bool

	// Dial opens connections in place of a net.Dialer: network is "tcp" or "unix". TLS is put on top of what it returns.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// LoadTime is for how long other programs wait for a loader of GetOrLoad, unless it ends or fails before: a bit longer than loaders
	// take. A value that takes longer is not set. 0 means 10 s; it may be 1 ms to 1 h.
	LoadTime time.Duration

	// NearCache, where it is set, keeps copies of what is read in this process.
	NearCache *NearCache
}

// The bounds of a client. Options replace the first three.
const (
	dialTimeout = 5 * time.Second
	retryTime   = 10 * time.Second
	loadTime    = 10 * time.Second

	// backoffFirst and backoffMax are the shortest and longest pause between attempts of a command; reconnectMax the longest one
	// between attempts to connect. Each is drawn from its upper half, so that clients do not come back all at once.
	backoffFirst = 4 * time.Millisecond
	backoffMax   = 250 * time.Millisecond
	reconnectMax = time.Second

	// redirectsMax is how many MOVED and ASK a command follows at once. What follows after waits as other errors do.
	redirectsMax = 8

	// pendingMax is how many commands of one connection may be without a reply; commands beyond it wait.
	pendingMax = 16 << 10
	// unsentMaxBytes is how much may be encoded and not yet sent on one connection before commands wait.
	unsentMaxBytes = 8 << 20
	// pipelineMax is how many commands of a pipeline are sent in one piece.
	pipelineMax = 1024
	// bulkBytes is the size from which a request uses the connection for bulk traffic, where it holds up no small ones.
	bulkBytes = 64 << 10
	// keepBytes is the size from which a write buffer is given back.
	keepBytes = 256 << 10
	// readBytes is the size of a connection's read buffer, lookBytes what of it a caller takes without waiting.
	readBytes = 32 << 10
	lookBytes = 4 << 10

	// aloneMin is how many calls in a row must find nothing under way on a connection for the next one to write, and to read, by itself.
	aloneMin = 4
	// lingerMax is how long such a call looks for its reply before it goes to sleep, lingerPauseMax how many calls do not where
	// replies take longer.
	lingerMax      = 20 * time.Microsecond
	lingerPauseMax = 63

	// exclusiveMax is how many connections to a node blocking commands and watches may hold; further ones wait.
	exclusiveMax = 128
	// exclusiveIdleMax is how many of them are kept when nobody uses them.
	exclusiveIdleMax = 8

	// quietMax is how long a connection that owes replies may stay silent before it is given up. Servers of a grid answer within
	// 10 s, with an error at least.
	quietMax = 15 * time.Second

	// sweepPeriod is how often connections and the age of the table are looked at.
	sweepPeriod = time.Second
	// tableAgeGrid and tableAgeCluster are how old a table may get. Cluster doors say MOVED where it is wrong, and the whole of it
	// is asked again; grid doors forward silently, and asking costs next to nothing where nothing has changed.
	tableAgeGrid    = time.Second
	tableAgeCluster = 30 * time.Second
	// tablePause is the shortest time between two questions for the table.
	tablePause = 20 * time.Millisecond
	// tableTimeout bounds one question for the table.
	tableTimeout = 2 * time.Second

	// addressesMax bounds the addresses given to Connect, nodesMax the nodes of a table.
	addressesMax = 1024
	nodesMax     = 4096
)

// withDefaults returns the options with what was left out filled in, or says what is wrong with them.
func (o Options) withDefaults() (Options, error) {
	if o.DialTimeout == 0 {
		o.DialTimeout = dialTimeout
	}
	if o.RetryTime == 0 {
		o.RetryTime = retryTime
	}
	if o.LoadTime == 0 {
		o.LoadTime = loadTime
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{KeepAlive: 5 * time.Second}).DialContext
	}
	switch {
	case o.DialTimeout < 0:
		return o, fmt.Errorf("neargrid: DialTimeout is %v; give a time above 0, or 0 for %v", o.DialTimeout, dialTimeout)
	case o.LoadTime < time.Millisecond || o.LoadTime > time.Hour:
		return o, fmt.Errorf("neargrid: LoadTime is %v; it may be 1 ms to 1 h, or 0 for %v", o.LoadTime, loadTime)
	case o.DB < 0:
		return o, fmt.Errorf("neargrid: DB is %d; databases count from 0", o.DB)
	case o.Username != "" && o.Password == "":
		return o, errors.New("neargrid: there is a Username and no Password")
	case strings.ContainsAny(o.ClientName, " \r\n"):
		return o, fmt.Errorf("neargrid: ClientName %q: spaces and line ends cannot stand in it", o.ClientName)
	}
	if o.NearCache == nil {
		return o, nil
	}
	near, err := o.NearCache.withDefaults()
	o.NearCache = &near
	return o, err
}

// hello is the command line that begins a connection.
func (o *Options) hello(resp int) []string {
	line := []string{"HELLO", itoa(resp)}
	if o.Password != "" {
		user := o.Username
		if user == "" {
			user = "default"
		}
		line = append(line, "AUTH", user, o.Password)
	}
	if o.ClientName != "" {
		line = append(line, "SETNAME", o.ClientName)
	}
	return line
}

// network splits an address into what net.Dial takes: a path is a Unix socket, anything else HOST:PORT.
func network(address string) (network, addr string) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path
	}
	if strings.HasPrefix(address, "/") {
		return "unix", address
	}
	return "tcp", address
}
