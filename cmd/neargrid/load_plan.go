package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	gridclient "github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/loadtest"
	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/server"
)

const (
	loadRecordsMax     = 1_000_000_000_000 // keys have 12 digits
	loadTargetsMax     = 6                 // the report has colours for so many
	loadTimeMax        = 24 * time.Hour
	loadDuration       = 10 * time.Second
	loadRounds         = 4 // of several targets
	loadPrefixMaxBytes = 1024
)

// loadPlan is what neargrid load does.
type loadPlan struct {
	command string // that asks for it
	targets []loadtest.Target
	options loadtest.Options
	rounds  int
	load    bool
	json    string // where the report goes; empty: nowhere
	html    string
	sample  *loadtest.RESP // what all targets have in common
	near    gridclient.NearCache
}

// planLoad turns flags into a plan.
func planLoad(in inputs) (*loadPlan, error) {
	if len(in.config) > 0 {
		return nil, usagef("%s: 'neargrid help load' lists the flags, and this is none", in.config[0].from)
	}
	p := &loadPlan{command: in.commandLine("load", loadFlags), json: in.text("json"), html: in.text("html")}
	for _, step := range []func(inputs) error{p.planWorkload, p.planLoop, p.planLength, p.planTargets} {
		if err := step(in); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *loadPlan) planWorkload(in inputs) error {
	records, err := in.number("records", 1, loadRecordsMax)
	if err != nil {
		return err
	}
	name := in.text("workload")
	only := name == "load"
	if only {
		name = "a" // its records are those that all workloads use
	}
	w, err := loadtest.NewWorkload(name, uint64(records))
	if err != nil {
		return in.wrong("workload", err.Error())
	}
	if p.load, err = in.on("load"); err != nil {
		return err
	}
	if w.Sizes, err = loadtest.ParseSizes(in.text("value-size")); err != nil {
		return in.wrong("value-size", err.Error())
	}
	if w.Seed, err = strconv.ParseUint(in.text("seed"), 10, 64); err != nil {
		return in.wrong("seed", "write a number from 0 on")
	}
	if in.given("scan-max") {
		if w.Mix[loadtest.Scan] == 0 {
			return in.wrong("scan-max", "the workload "+name+" has no scans")
		}
		if w.ScanMax, err = in.number("scan-max", 1, loadtest.ScanMaxMax); err != nil {
			return err
		}
	}
	if err := p.planKeys(in, &w); err != nil {
		return err
	}
	if only {
		if p.load || w.Choice == loadtest.Replay || in.given("keys") || in.given("theta") {
			return in.wrong("workload", "stores each record once, in order: leave out --load, --keys, --theta and --trace")
		}
		w = w.LoadPhase()
	}
	p.options.Workload = w
	return nil
}

func (p *loadPlan) planKeys(in inputs, w *loadtest.Workload) (err error) {
	if in.given("keys") {
		w.Choice = loadtest.Choice(in.text("keys"))
		if !slices.Contains(loadtest.Choices, w.Choice) || w.Choice == loadtest.Replay {
			return in.wrong("keys", "write uniform, zipf, latest or sequential, or name a trace with --trace")
		}
	}
	if path := in.text("trace"); path != "" {
		switch {
		case in.given("keys"):
			return in.wrong("trace", "chooses the keys; leave out --keys")
		case p.load:
			return in.wrong("trace", "a trace has keys of its own: leave out --load, and have --read-through store what is missing")
		}
		if w.Trace, err = loadtest.ReadTrace(path); err != nil {
			return usagef("%s: %v", in.flags["trace"].from, err)
		}
		w.Choice = loadtest.Replay
	}
	if in.given("theta") {
		if w.Choice != loadtest.Zipf && w.Choice != loadtest.Latest {
			return in.wrong("theta", "is for keys chosen by zipf or latest")
		}
		w.Theta, err = strconv.ParseFloat(in.text("theta"), 64)
		if err != nil || !(w.Theta > 0) || w.Theta > loadtest.ThetaMax {
			return in.wrong("theta", fmt.Sprintf("write a number above 0, up to %d; 0.99 is usual", loadtest.ThetaMax))
		}
	}
	return nil
}

func (p *loadPlan) planLoop(in inputs) (err error) {
	o := &p.options
	if o.Clients, err = in.number("clients", 1, loadtest.ClientsMax); err != nil {
		return err
	}
	if !in.given("rate") {
		for _, flag := range []string{"arrivals", "in-flight"} {
			if in.given(flag) {
				return in.wrong(flag, "is for an open loop: give --rate")
			}
		}
		o.Depth = 1
		if in.given("pipeline") {
			o.Depth, err = in.number("pipeline", 1, loadtest.DepthMax)
		}
		return err
	}
	o.Rate, err = strconv.ParseFloat(in.text("rate"), 64)
	if err != nil || !(o.Rate > 0) || o.Rate > loadtest.RateMax {
		return in.wrong("rate", "write how many operations arrive each second, such as 20000")
	}
	if in.given("pipeline") {
		return in.wrong("pipeline", "is for a closed loop: leave out --rate")
	}
	if in.given("in-flight") {
		if o.InFlight, err = in.number("in-flight", 1, loadtest.InFlightMax); err != nil {
			return err
		}
	}
	switch in.text("arrivals") {
	case "", "poisson":
	case "even":
		o.Even = true
	default:
		return in.wrong("arrivals", "write poisson or even")
	}
	return nil
}

func (p *loadPlan) planLength(in inputs) (err error) {
	o := &p.options
	if o.WarmUp, err = in.duration("warm-up", 0, loadTimeMax); err != nil {
		return err
	}
	if in.given("operations") {
		if o.Workload.Name == "load" {
			return in.wrong("operations", "the workload load stores --records, and ends")
		}
		count, err := in.number("operations", 1, loadRecordsMax)
		if err != nil {
			return err
		}
		o.Workload.Limit = uint64(count)
	}
	switch {
	case in.given("duration"):
		o.Duration, err = in.duration("duration", time.Millisecond, loadTimeMax)
	case o.Workload.Limit == 0 && o.Workload.Choice != loadtest.Replay:
		o.Duration = loadDuration
	}
	if !in.given("warm-up") && o.Duration == 0 {
		o.WarmUp = 0 // all of it is asked for
	}
	return err
}

func (p *loadPlan) planTargets(in inputs) error {
	common, err := p.commonTarget(in)
	if err != nil {
		return err
	}
	p.sample = common
	if err := p.planNear(in); err != nil {
		return err
	}
	addrs := strings.Split(in.text("addr"), ",")
	if len(addrs) > loadTargetsMax {
		return in.wrong("addr", fmt.Sprintf("at most %d targets are compared", loadTargetsMax))
	}
	encrypted, near := false, false
	for _, text := range addrs {
		addr, form, err := loadtest.ParseTarget(text)
		if err != nil {
			return in.wrong("addr", err.Error())
		}
		if form.Cluster && p.options.Workload.Mix[loadtest.Scan] > 0 {
			return in.wrong("addr", "scans ask for keys of several slots in one command, which a cluster refuses: "+
				"use another workload, or a plain door")
		}
		target := common.At(addr, form)
		if form.TLS {
			encrypted = true
			if target.TLS, err = tlsConfig(in); err != nil {
				return err
			}
		}
		if near = near || form.Near; form.Near {
			p.targets = append(p.targets, &loadtest.Near{RESP: target, Cache: p.near})
			continue
		}
		p.targets = append(p.targets, target)
	}
	for _, flag := range []string{"near-prefixes", "near-memory", "near-staleness"} {
		if in.given(flag) && !near {
			return in.wrong(flag, "is for targets that begin with near:")
		}
	}
	if in.given("tls-ca") && !encrypted {
		return in.wrong("tls-ca", "is for targets that begin with tls:")
	}
	p.rounds = 1
	if len(addrs) > 1 {
		p.rounds = loadRounds
	}
	if in.given("rounds") {
		p.rounds, err = in.number("rounds", 1, loadtest.RoundsMax)
	}
	return err
}

// planNear is what near: targets keep.
func (p *loadPlan) planNear(in inputs) (err error) {
	if in.given("near-prefixes") {
		p.near.Prefixes = strings.Split(in.text("near-prefixes"), ",")
	}
	if in.given("near-memory") {
		if p.near.MemoryMax, err = server.ParseMemory(in.text("near-memory")); err != nil || p.near.MemoryMax < nearcache.MemoryBytesMin {
			return in.wrong("near-memory", fmt.Sprintf("write a size such as 64mb, at least %d bytes", nearcache.MemoryBytesMin))
		}
	}
	if in.given("near-staleness") {
		p.near.Staleness, err = in.duration("near-staleness", gridclient.StalenessMin, gridclient.StalenessMax)
	}
	return err
}

// commonTarget is what all targets have in common.
func (p *loadPlan) commonTarget(in inputs) (t *loadtest.RESP, err error) {
	t = &loadtest.RESP{Prefix: in.text("key-prefix"), Sizes: p.options.Workload.Sizes}
	if len(t.Prefix) > loadPrefixMaxBytes {
		return nil, in.wrong("key-prefix", fmt.Sprintf("at most %d bytes", loadPrefixMaxBytes))
	}
	if t.Password, err = password(in, passwordFlag.name); err != nil {
		return nil, err
	}
	if t.Verify, err = in.on("verify"); err != nil {
		return nil, err
	}
	if in.given("ttl") {
		if t.TTL, err = in.duration("ttl", time.Millisecond, 365*loadTimeMax); err != nil {
			return nil, err
		}
	}
	if t.ReadThrough, err = in.on("read-through"); err != nil {
		return nil, err
	}
	if in.given("source-latency") {
		if !t.ReadThrough {
			return nil, in.wrong("source-latency", "is for --read-through")
		}
		t.Source, err = in.duration("source-latency", 0, loadtest.SourceMax)
	}
	if t.ReadThrough && p.options.Workload.Mix[loadtest.Read] == 0 {
		return nil, in.wrong("read-through", "the workload "+p.options.Workload.Name+" has no reads")
	}
	return t, err
}

func tlsConfig(in inputs) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	path := in.text("tls-ca")
	if path == "" {
		return config, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, in.wrong("tls-ca", err.Error())
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, in.wrong("tls-ca", "has no certificate in PEM form")
	}
	return config, nil
}

// describe adds to a report what only the targets know.
func (p *loadPlan) describe(o *loadtest.OptionsReport) {
	o.ReadThrough, o.Source, o.TTL = p.sample.ReadThrough, p.sample.Source.Seconds(), p.sample.TTL.Seconds()
	o.NearPrefixes, o.NearMemory, o.Staleness = p.near.Prefixes, p.near.MemoryMax, p.near.Staleness.Seconds()
}
