package doctor

import "errors"

const (
	processDumps   check = "process.dumps"
	processFIPS    check = "process.fips"
	processSockets check = "process.sockets"
)

// Dumps says whether this process keeps its memory out of core files and from
// debuggers; what secret.DumpsForbidden answers.
func Dumps(forbidden bool, err error) Finding {
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return processDumps.skip("", "this system does not tell")
	case err != nil:
		return processDumps.warn("", err.Error(), "look whether the system lets a process forbid core dumps")
	case !forbidden:
		return processDumps.warn("", "core files, or debuggers of the same user, get at the memory of this process",
			"have the service call secret.ForbidDumps when it starts, or limit core files (`ulimit -c 0`)")
	default:
		return processDumps.ok("", "no core files, and no debugger of the same user")
	}
}

// FIPS says which mode this process is in.
func FIPS(enabled bool) Finding {
	if enabled {
		return processFIPS.ok("", "FIPS 140 mode is on")
	}
	return processFIPS.ok("", "FIPS 140 mode is off (GODEBUG=fips140=on turns it on)")
}

// Sockets says whether a plugin's socket has a place; what Catalog.CheckSockets
// answers.
func Sockets(folder string, err error) Finding {
	if err != nil {
		return processSockets.fail("", err.Error(), "set TMPDIR to a folder with a short path that this user may write")
	}
	return processSockets.ok(folder, "plugins' sockets have room there")
}
