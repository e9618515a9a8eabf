// Package reencrypt brings the tokens in the user's own files to their keys'
// primary versions, and counts how many of each version there are.
//
// Rotating a key only changes what is encrypted from then on. What was encrypted
// before stands in configuration files, dumps and manifests that Keyrotor does
// not own, so this package takes the greatest care of them: a byte outside of a
// token never changes, a file is replaced as a whole or not at all, whatever
// happens to the process in between, and whatever could not be done is listed.
//
// No system call replaces a file on condition of what it holds. The last look at
// it comes right before the rename: what somebody else saves in the moment
// between the two is lost, as it is to any other editor.
//
// Files are read as a stream in constant memory, whatever their length and that
// of their lines. Replacing a file gives its name a new inode, with the mode,
// owner and extended attributes of the old one; a hard link's other names keep
// the old content until they are processed too, and are files of their own then.
package reencrypt
