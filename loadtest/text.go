package loadtest

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Text writes the report for a person.
func (r *Report) Text(w io.Writer) error {
	var out strings.Builder
	for _, line := range r.Options.Lines() {
		fmt.Fprintln(&out, line)
	}
	for i := range r.Targets {
		r.Targets[i].text(&out)
	}
	if len(r.Ratios) > 0 {
		fmt.Fprintf(&out, "\nagainst %s (1 is the same)\n", r.Targets[0].Target)
		table := newTable(&out)
		width := nameWidth
		for _, ratio := range r.Ratios {
			width = max(width, len(ratio.Target))
		}
		fmt.Fprintf(table, "  %-*s\tthroughput\tp50\tp99\tp99.9\t\n", width, "")
		for _, ratio := range r.Ratios {
			fmt.Fprintf(table, "  %-*s\t%.2f\t%.2f\t%.2f\t%.2f\t\n",
				width, ratio.Target, ratio.Throughput, ratio.P50, ratio.P99, ratio.P999)
		}
		table.Flush()
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(&out)
	}
	for _, note := range r.Notes {
		fmt.Fprintln(&out, "note: "+note)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

const nameWidth = 17 // of the longest kind

func newTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// Lines tell what was asked for.
func (o *OptionsReport) Lines() []string {
	keys := string(o.Keys)
	if o.Theta > 0 {
		keys = fmt.Sprintf("%s %g", o.Keys, o.Theta)
	}
	what := fmt.Sprintf("workload %s: %s records, keys %s, values of %s B, seed %d",
		o.Workload, thousands(o.Records), keys, o.ValueSize, o.Seed)
	if o.ReadThrough {
		what += fmt.Sprintf(", read-through from a source of %g ms", o.Source*1e3)
	}
	if o.TTL > 0 {
		what += fmt.Sprintf(", TTL %g s", o.TTL)
	}
	how := fmt.Sprintf("closed loop: %d clients, %d operations under way each", o.Clients, o.Pipeline)
	if o.Loop == "open" {
		how = fmt.Sprintf("open loop: %s operations/s, %s arrivals, %d clients, at most %d in flight each",
			thousands(uint64(o.Rate)), o.Arrivals, o.Clients, o.InFlight)
	}
	length := "until the workload ends"
	if o.Duration > 0 {
		length = fmt.Sprintf("%g s", o.Duration)
	}
	how += fmt.Sprintf("; %s after %g s of warm-up", length, o.WarmUp)
	if o.Rounds > 1 {
		how += fmt.Sprintf(", %d rounds", o.Rounds)
	}
	return []string{what, how}
}

func (t *TargetReport) text(out *strings.Builder) {
	fmt.Fprintf(out, "\n%s\n", t.Target)
	fmt.Fprintf(out, "  throughput  %s operations/s: %s in %.2f s, %s errors\n",
		t.Rate(), thousands(t.Operations), t.Seconds, thousands(t.Errors))
	if len(t.Turns) > 1 {
		var rates []string
		for _, turn := range t.Turns {
			rates = append(rates, thousands(uint64(turn.PerSecond+0.5)))
		}
		fmt.Fprintf(out, "  turns       %s\n", strings.Join(rates, "  "))
	}
	if read := t.Hits + t.Misses; read > 0 {
		fmt.Fprintf(out, "  reads       %.2f %% found: %s of %s records\n", t.HitPercent(), thousands(t.Hits), thousands(read))
	}
	if t.Near != nil {
		fmt.Fprintf(out, "  near cache  %s\n", t.Near.Line())
	}
	fmt.Fprintf(out, "  generator   %s\n\n", t.Self.Line())
	table := newTable(out)
	fmt.Fprintf(table, "  %-*s\tcount\tmean\tp50\tp90\tp99\tp99.9\tp99.99\tmax\t\n", nameWidth, "latency")
	for _, row := range t.Rows() {
		row[0] = fmt.Sprintf("  %-*s", nameWidth, row[0])
		fmt.Fprintln(table, strings.Join(row, "\t")+"\t")
	}
	table.Flush()
	for i, f := range t.Failures {
		if i == 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "  %s x %s: %s\n", thousands(f.Count), f.Kind, f.First)
	}
}

// Rate is the throughput for a person.
func (t *TargetReport) Rate() string { return thousands(uint64(t.PerSecond + 0.5)) }

// HitPercent is the share of the records read that were there.
func (t *TargetReport) HitPercent() float64 {
	return 100 * over(float64(t.Hits), float64(t.Hits+t.Misses))
}

// Line says it for a person.
func (n *NearReads) Line() string {
	return fmt.Sprintf("%.2f %% answered from memory: %s of %s look-ups", 100*over(float64(n.Hits), float64(n.Reads)), thousands(n.Hits), thousands(n.Reads))
}

// Rows is the table of latencies: of each kind, and where there are several, of all together.
func (t *TargetReport) Rows() (rows [][]string) {
	kinds := t.Kinds
	if len(kinds) != 1 {
		kinds = append(append([]KindReport{}, kinds...), KindReport{"all", t.Latency})
	}
	for _, k := range kinds {
		l := k.Latency
		row := []string{k.Kind, thousands(l.Count)}
		for _, us := range []float64{l.Mean, l.P50, l.P90, l.P99, l.P999, l.P9999, l.Max} {
			row = append(row, micros(us))
		}
		rows = append(rows, row)
	}
	return rows
}

// thousands writes a count with its digits in groups.
func thousands(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Line is the progress for a person, on one line.
func (p Progress) Line() string {
	at := fmt.Sprintf("%3.0f s", p.Elapsed.Seconds())
	switch {
	case p.Last.Length == 0:
		return fmt.Sprintf("%s  warming up, %.0f s left", p.Target, max(-p.Elapsed.Seconds(), 0))
	case p.Length > 0:
		at += fmt.Sprintf(" of %.0f", p.Length.Seconds())
	}
	rate := over(float64(p.Last.Operations), p.Last.Length)
	line := fmt.Sprintf("%s  %s  %s/s  p50 %s  p99 %s  max %s",
		p.Target, at, thousands(uint64(rate+0.5)), micros(p.Last.P50), micros(p.Last.P99), micros(p.Last.Max))
	if p.Last.Errors > 0 {
		line += fmt.Sprintf("  %s errors", thousands(p.Last.Errors))
	}
	return line
}
