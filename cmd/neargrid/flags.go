package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// flagSpec is one flag of a command. It can be given on the command line, as an environment variable, or in the file
// that --config names; the first of these that has it wins.
type flagSpec struct {
	name        string
	placeholder string // what the value is, for help; empty = a switch
	value       string // the default
	help        string
}

const inputsHelp = `
Every flag can also be an environment variable (--data-dir is NEARGRID_DATA_DIR) or a
line of the file that --config names ("data-dir /var/lib/neargrid"; # starts a comment).
The command line wins over the environment, that over the file. The file may also set
what CONFIG SET sets, for example "maxmemory-policy allkeys-lru".

Environment variables of their own:
  NEARGRID_LOG        text (default) or json: how logs are written to standard error
  NEARGRID_LOG_LEVEL  debug, verbose, notice (default) or warning
  NEARGRID_PPROF      a loopback address for Go's profiler, e.g. 127.0.0.1:6060
`

// configFlag is a flag of every command.
var configFlag = flagSpec{name: "config", placeholder: "FILE", help: "read further settings from FILE"}

func (f *flagSpec) helpLine() string {
	if f.value == "" {
		return f.help
	}
	return fmt.Sprintf("%s (default %s)", f.help, f.value)
}

// variable is the environment variable of a flag.
func (f *flagSpec) variable() string {
	return "NEARGRID_" + strings.ToUpper(strings.ReplaceAll(f.name, "-", "_"))
}

// input is one value and where it came from: "--listen", "NEARGRID_LISTEN", "grid.conf:3: listen".
type input struct{ name, value, from string }

// inputs are all that a command was told.
type inputs struct {
	flags  map[string]input // every flag of the command; from is empty for a default
	config []input          // lines of the file that are no flags: names of CONFIG
}

// text is a flag's value.
func (in inputs) text(flag string) string { return in.flags[flag].value }

// given tells whether a flag has a value that is not its default.
func (in inputs) given(flag string) bool { return in.flags[flag].from != "" }

// on tells whether a switch is on.
func (in inputs) on(flag string) (bool, error) {
	i := in.flags[flag]
	switch strings.ToLower(i.value) {
	case "", "0", "no", "false", "off":
		return false, nil
	case "1", "yes", "true", "on":
		return true, nil
	}
	return false, in.wrong(flag, "write yes or no")
}

// number is a flag's value within bounds, both included.
func (in inputs) number(flag string, low, high int) (int, error) {
	n, err := strconv.Atoi(in.text(flag))
	if err != nil || n < low || n > high {
		return 0, in.wrong(flag, fmt.Sprintf("write a number from %d to %d", low, high))
	}
	return n, nil
}

// duration is a flag's value within bounds, both included.
func (in inputs) duration(flag string, low, high time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(in.text(flag))
	if err == nil && (d < low || d > high) {
		err = errors.New("out of range")
	}
	if err != nil {
		return 0, in.wrong(flag, fmt.Sprintf("write a time such as 500ms, 10s or 5m, from %s to %s", low, high))
	}
	return d, nil
}

// commandLine is a command that gives each flag the value it has, wherever that came from.
func (in inputs) commandLine(name string, flags []flagSpec) string {
	line := "neargrid " + name
	for _, f := range flags {
		if value := in.text(f.name); in.given(f.name) && f.name != configFlag.name {
			if strings.ContainsAny(value, " \t\"'$\\*?") || value == "" {
				value = strconv.Quote(value)
			}
			if f.placeholder == "" {
				line += " --" + f.name + "=" + value
			} else {
				line += " --" + f.name + " " + value
			}
		}
	}
	return line
}

// wrong says that a flag's value cannot be used, and what to write instead.
func (in inputs) wrong(flag, advice string) error {
	i := in.flags[flag]
	return usagef("%s %q: %s", i.from, i.value, advice)
}

var errHelp = errors.New("help was asked for")

// parseInputs gathers a command's flags from the command line, the environment and the file, in this order.
func parseInputs(c *command, args []string, env environment) (inputs, error) {
	in := inputs{flags: map[string]input{}}
	if err := in.fromArgs(c, args); err != nil {
		return in, err
	}
	for _, f := range c.flags {
		if value := env.variable(f.variable()); value != "" {
			in.offer(input{f.name, value, f.variable()})
		}
	}
	if file := in.text(configFlag.name); file != "" {
		if err := in.fromFile(c, file); err != nil {
			return in, err
		}
	}
	for _, f := range c.flags {
		if _, given := in.flags[f.name]; !given {
			in.flags[f.name] = input{f.name, f.value, ""}
		}
	}
	return in, nil
}

// offer takes a value for a flag unless a stronger source gave one.
func (in *inputs) offer(i input) {
	if _, given := in.flags[i.name]; !given {
		in.flags[i.name] = i
	}
}

// fromArgs reads the command line. Of a flag given twice the last counts, as is usual.
func (in *inputs) fromArgs(c *command, args []string) error {
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range c.flags {
		take := func(value string) error {
			in.flags[f.name] = input{f.name, value, "--" + f.name}
			return nil
		}
		switch {
		case f.placeholder == "":
			set.BoolFunc(f.name, "", take)
		default:
			set.Func(f.name, "", take)
		}
	}
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return errHelp
	case err != nil:
		return usagef("%s; 'neargrid help %s' lists the flags", plainFlagError(err), c.name)
	case set.NArg() > 0:
		return usagef("%q is not a flag; 'neargrid help %s' lists the flags", set.Arg(0), c.name)
	}
	return nil
}

// plainFlagError words an error of package flag as this program writes flags, with two dashes.
func plainFlagError(err error) string {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return "there is no flag --" + name
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return "--" + name + " needs a value"
	}
	return text
}

// lineMaxBytes bounds a line of the configuration file.
const lineMaxBytes = 64 << 10

// fromFile reads "name value" lines. A value in double quotes may hold anything that a Go string may.
func (in *inputs) fromFile(c *command, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return usagef("cannot read the configuration file: %v", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, lineMaxBytes)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, err := splitLine(line)
		if err != nil {
			return usagef("%s:%d: %v", path, number, err)
		}
		i := input{name, value, fmt.Sprintf("%s:%d: %s", path, number, name)}
		if err := in.fromLine(c, i); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return usagef("cannot read the configuration file %s: %v", path, err)
	}
	return nil
}

func splitLine(line string) (name, value string, err error) {
	name, value = line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		name, value = line[:i], strings.TrimSpace(line[i:])
	}
	if strings.HasPrefix(value, `"`) {
		if value, err = strconv.Unquote(value); err != nil {
			return "", "", fmt.Errorf("the quotes around the value of %s do not match", name)
		}
	}
	return name, value, nil
}

func (in *inputs) fromLine(c *command, i input) error {
	for _, f := range c.flags {
		if f.name != i.name {
			continue
		}
		if f.name == configFlag.name {
			return usagef("%s cannot stand in the file itself", i.from)
		}
		if f.placeholder == "" && i.value == "" {
			i.value = "yes"
		}
		in.offer(i)
		return nil
	}
	in.config = append(in.config, i)
	return nil
}
