package catalog

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// filePrefix and the type make a plugin's file name: keyrotor-plugin-local.
const filePrefix = "keyrotor-plugin-"

// FileName is the name of the binary of a plugin type on this platform.
func FileName(typ string) string {
	return filePrefix + typ + exeSuffix()
}

// List answers the types of the plugins whose files lie in dir, in order. It
// neither opens nor trusts them.
func List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("plugin directory: %w", err)
	}
	var types []string
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), filePrefix)
		if !ok || e.IsDir() {
			continue
		}
		name, ok = strings.CutSuffix(name, exeSuffix())
		if ok && typePattern.MatchString(name) {
			types = append(types, name)
		}
	}
	return types, nil
}

// Find answers the absolute path of a plugin's binary, free of symbolic links.
// The path is within dir, it is a regular executable file, and nobody but its
// owner and group may replace it. PATH plays no part.
func Find(dir, typ string) (string, error) {
	if !typePattern.MatchString(typ) {
		return "", fmt.Errorf("%q is no plugin type: lower-case words joined by hyphens are", typ)
	}
	root, err := resolve(dir)
	if err != nil {
		return "", fmt.Errorf("plugin directory: %w", err)
	}
	path, err := resolve(filepath.Join(root, FileName(typ)))
	if err != nil {
		return "", fmt.Errorf("plugin %q: put its binary into the plugin directory: %w", typ, err)
	}
	if rel, err := filepath.Rel(root, path); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("plugin %q: %s leads out of the plugin directory, to %s: put the binary itself there", typ, filepath.Join(root, FileName(typ)), path)
	}
	if err := checkBinary(path); err != nil {
		return "", fmt.Errorf("plugin %q: %w", typ, err)
	}
	for d := filepath.Dir(path); ; d = filepath.Dir(d) {
		if err := checkDir(d); err != nil {
			return "", fmt.Errorf("plugin %q: %w", typ, err)
		}
		if d == root {
			return path, nil
		}
	}
}

func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

func checkBinary(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if err := checkFile(path, info); err != nil {
		return err
	}
	if runtime.GOOS != "windows" && info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not executable: chmod 755 it", path)
	}
	return nil
}

// checkFile refuses what is no file, or what everybody may change.
func checkFile(path string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case runtime.GOOS != "windows" && mode&0o002 != 0:
		return fmt.Errorf("%s can be written by everybody: chmod o-w it", path)
	}
	return nil
}

// checkDir refuses a directory in which everybody may replace files. In a sticky
// one, like /tmp, only a file's owner may.
func checkDir(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode(); runtime.GOOS != "windows" && mode&0o002 != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Errorf("the directory %s can be written by everybody: chmod o-w it", path)
	}
	return nil
}

func exeSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}
