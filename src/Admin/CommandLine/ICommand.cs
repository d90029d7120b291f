namespace ObjectStore.Admin.CommandLine;

/// <summary>One command of the tool.</summary>
internal interface ICommand
{
    /// <summary>The words that choose it, such as "volume inspect".</summary>
    string Name { get; }

    /// <summary>One line for the list of commands.</summary>
    string Summary { get; }

    string Help { get; }

    /// <param name="words">What follows the name.</param>
    /// <returns>One of <see cref="ExitCode"/>.</returns>
    /// <exception cref="UsageException">The words cannot be used.</exception>
    /// <exception cref="CommandFailedException">It could not be done.</exception>
    Task<int> RunAsync(IReadOnlyList<string> words, CommandContext context, CancellationToken cancellationToken);
}

/// <summary>What commands have of the world.</summary>
internal sealed record CommandContext(TextWriter Output, TextWriter Error, TimeProvider Time, Func<string, string?> Environment)
{
    /// <summary>Follows no redirection and uses no proxy: the token goes to the node named, or nowhere.</summary>
    public HttpClient NewHttpClient() => new(new SocketsHttpHandler { AllowAutoRedirect = false, UseProxy = false, ConnectTimeout = TimeSpan.FromSeconds(10) }) { Timeout = TimeSpan.FromSeconds(30) };
}
