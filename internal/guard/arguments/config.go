package arguments

// Kind is what an argument is used as.
type Kind uint16

// Kinds of arguments. An argument may be several.
const (
	Path     Kind = 1 << iota // of a file or folder
	URL                       // that the server fetches or hands on
	Command                   // a line that holds one command and nothing else
	Word                      // a part of a command
	SQL                       // one statement that reads
	Header                    // a line of a protocol, such as a subject
	Template                  // text that a template engine must not run
	shell                     // a line that is meant for a shell
	writes                    // SQL that may write
	free                      // text for people or programs: whatever it says is its own affair
)

// Settings tune the guard.
type Settings struct {
	// Roots are the folders that a server may work in, by its name. A server
	// without any may be given absolute paths.
	Roots map[string][]string
	// Tools says what arguments are, by server/tool and then by their path, as in
	// options.file, besides what their names tell.
	Tools map[string]map[string]Kind
	// Unchecked are arguments, written server/tool#path, and whole tools, written
	// server/tool, that are not looked at.
	Unchecked []string
	// SQLWrites are tools, written server/tool, whose SQL may write.
	SQLWrites []string
	// PrivateHosts are host or host:port that URLs may name although they are
	// private.
	PrivateHosts []string
}
