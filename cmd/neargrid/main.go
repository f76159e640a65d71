package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/neargrid/neargrid/server"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // could not start, or could not go on
	exitUsage  = 2 // what was asked for is wrong: a flag, a variable, a file that one of them names
)

// command is one word after "neargrid".
type command struct {
	name    string
	summary string
	about   string // for its help
	flags   []flagSpec
	run     func(env environment, in inputs) error
}

// commands stand in the order in which help lists them.
var commands = []command{devCommand, serverCommand, statusCommand, drainCommand, recoverCommand, sidecarCommand, loadCommand}

// environment is what a command gets of the process around it.
type environment struct {
	variable       func(name string) string // empty = not set
	stdin          io.Reader
	stdout, stderr io.Writer
}

// usageError is a mistake in what was asked for.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

func main() {
	os.Exit(execute(os.Args[1:], environment{os.Getenv, os.Stdin, os.Stdout, os.Stderr}))
}

// execute runs one command line and returns the exit code. An error is one line on stderr.
func execute(args []string, env environment) int {
	name, err := executeCommand(args, env)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(env.stderr, "%s: %s\n", strings.TrimSpace("neargrid "+name), strings.ReplaceAll(err.Error(), "\n", " "))
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// executeCommand returns the name of the command it ran, for an error's first words.
func executeCommand(args []string, env environment) (name string, err error) {
	if len(args) == 0 {
		return "", usagef("a command is missing: 'neargrid dev' starts a grid to try, 'neargrid help' lists all")
	}
	switch word := args[0]; word {
	case "help", "-h", "-help", "--help":
		return "help", help(env.stdout, args[1:])
	case "version", "-version", "--version":
		fmt.Fprintln(env.stdout, "neargrid "+versionLine())
		return "version", nil
	default:
		i := slices.IndexFunc(commands, func(c command) bool { return c.name == word })
		if i < 0 {
			return "", unknownCommand(word)
		}
		in, err := parseInputs(&commands[i], args[1:], env)
		if errors.Is(err, errHelp) {
			commands[i].help(env.stdout)
			return word, nil
		}
		if err != nil {
			return word, err
		}
		return word, commands[i].run(env, in)
	}
}

func unknownCommand(word string) error {
	return usagef("there is no command '%s': 'neargrid help' lists all", word)
}

// help prints what there is: all commands, or one with its flags. Help and version have none: what there is says all about them.
func help(w io.Writer, args []string) error {
	if len(args) > 0 && args[0] != "help" && args[0] != "version" {
		i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
		if i < 0 {
			return unknownCommand(args[0])
		}
		commands[i].help(w)
		return nil
	}
	fmt.Fprint(w, "neargrid is an in-memory data grid that every Redis client can talk to.\n\nUsage: neargrid <command> [flags]\n\nCommands:\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "  version   prints the version\n  help      prints this, or with a command's name its flags\n\n"+
		"To try it: 'neargrid dev', and in another terminal 'redis-cli -p 6379'.\n")
	return nil
}

// help prints a command's flags.
func (c *command) help(w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage: neargrid %s [flags]\n\nFlags:\n", c.about, c.name)
	for _, f := range c.flags {
		fmt.Fprintf(w, "  --%s\n      %s\n", strings.TrimSpace(f.name+" "+f.placeholder), f.helpLine())
	}
	fmt.Fprint(w, inputsHelp)
}

// versionLine is the version, the commit where it is known, the Go release and the platform.
func versionLine() string {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				commit = " " + s.Value[:12]
			}
		}
	}
	return fmt.Sprintf("%s%s %s %s/%s", server.Version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
