package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

var recoverCommand = command{
	name:    "recover",
	summary: "decides what only a person may: that lost data, or voters that are gone, are given up",
	about: "neargrid recover lists the partitions that are lost and the starts of nodes that had them last. With\n" +
		"--accept-data-loss and --dead those partitions begin anew, empty. A node that is only unreachable may still\n" +
		"come back with the data, until then; so make sure that it is off, and stays off.\n\n" +
		"With --new-control-plane the node at --addr begins another control plane, for a grid that lost a majority of its\n" +
		"voters for good: nodes that answer go over to it with their data, those named with --dead are given up. Before,\n" +
		"make sure that they are off, and that no other node of the grid runs. A node that was given up and comes back\n" +
		"with its data directory is refused: it joins with --join once grid.json, raft and raft-* are moved out of there.",
	flags: []flagSpec{
		addrFlag, passwordFlag,
		{name: "accept-data-loss", placeholder: "PARTITION,...", help: "give up what was in these partitions; such as 0-7,12"},
		{name: "new-control-plane", help: "begin another control plane: a majority of the voters is gone for good"},
		{name: "dead", placeholder: "NODE/INCARNATION,...", help: "the starts that had them last, or that do not answer; each of these processes has ended for good"},
		{name: "yes", help: "do not ask whether that is meant"},
		configFlag,
	},
	run: runRecover,
}

func runRecover(env environment, in inputs) error {
	a, err := newAsker(in)
	if err != nil {
		return err
	}
	sure, err := in.on("yes")
	if err != nil {
		return err
	}
	control, err := in.on("new-control-plane")
	if err != nil {
		return err
	}
	partitions, dead := in.text("accept-data-loss"), strings.FieldsFunc(in.text("dead"), func(r rune) bool { return r == ',' || r == ' ' })
	switch {
	case control && partitions != "":
		return in.wrong("accept-data-loss", "begin the control plane first; only then can losses be accepted")
	case control:
		a.patience = recoverPatience
		return runNewControlPlane(env, in, a, dead, sure)
	case partitions == "" && len(dead) == 0:
		return listLosses(env, a)
	case partitions == "":
		return in.wrong("dead", "say with --accept-data-loss which partitions are given up, or give --new-control-plane")
	case len(dead) == 0:
		return in.wrong("accept-data-loss", "say with --dead which starts of nodes had them last and are off; 'neargrid recover' lists them")
	}
	if _, err := parsePartitions(partitions); err != nil {
		return in.wrong("accept-data-loss", "write partitions as in 0-7,12")
	}
	if !sure && !isMeant(env, partitions, dead) {
		return fmt.Errorf("nothing was done")
	}
	text, err := a.ask(context.Background(), append([]string{"GRID.RECOVER", "accept-loss", partitions}, dead...)...)
	if err == nil {
		fmt.Fprintln(env.stdout, text)
	}
	return err
}

func listLosses(env environment, a asker) error {
	text, err := a.ask(context.Background(), "GRID.RECOVER", "lost")
	if err != nil {
		return err
	}
	var all []loss
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return fmt.Errorf("%s: the answer is not understood: %w", a.addr, err)
	}
	if len(all) == 0 {
		fmt.Fprintln(env.stdout, "No partition is lost.")
		return nil
	}
	for _, l := range all {
		fmt.Fprintf(env.stdout, "lost with   %s\npartitions  %s\n\n", l.Start, l.Partitions)
	}
	fmt.Fprint(env.stdout, "To give their data up, once it is sure that these processes are off for good:\n"+
		"neargrid recover --accept-data-loss PARTITION,... --dead NODE/INCARNATION,...\n")
	return nil
}

// isMeantWord is what a person types.
const isMeantWord = "accept"

func isMeant(env environment, partitions string, dead []string) bool {
	fmt.Fprintf(env.stdout, "The data in partitions %s is given up for good. This must be sure: these processes have ended, and cannot\n"+
		"come back:\n  %s\nType '%s' to go on: ", partitions, strings.Join(dead, "\n  "), isMeantWord)
	line, _ := bufio.NewReader(env.stdin).ReadString('\n')
	return strings.TrimSpace(line) == isMeantWord
}
