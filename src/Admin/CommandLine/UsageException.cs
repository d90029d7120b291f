namespace ObjectStore.Admin.CommandLine;

/// <summary>The words of the command line cannot be used. The message is one line that names the option, its value and the remedy.</summary>
internal sealed class UsageException(string message) : Exception(message);

/// <summary>The command is right but could not be done: a drive in use, a server that cannot be reached. The message is one line for the operator.</summary>
internal sealed class CommandFailedException(string message, Exception? inner = null) : Exception(message, inner);
