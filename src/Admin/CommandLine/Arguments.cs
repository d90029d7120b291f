namespace ObjectStore.Admin.CommandLine;

/// <summary>The words behind a command: values of options, flags, and what is left. Unknown options are refused.</summary>
internal sealed class Arguments
{
    private readonly Dictionary<string, List<string>> _values = new(StringComparer.Ordinal);
    private readonly HashSet<string> _flags = new(StringComparer.Ordinal);
    private readonly List<string> _words = [];

    /// <summary>What is no option, in order.</summary>
    public IReadOnlyList<string> Words => _words;

    /// <param name="options">The names, with their dashes, of the options that take a value: as <c>--name value</c> or <c>--name=value</c>.</param>
    /// <param name="flags">The names of those that take none.</param>
    /// <exception cref="UsageException">An option is unknown, has no value, or is a flag with one.</exception>
    public static Arguments Parse(IReadOnlyList<string> words, IReadOnlyCollection<string> options, IReadOnlyCollection<string>? flags = null)
    {
        Arguments parsed = new();
        for (int i = 0; i < words.Count; i++)
        {
            string name = words[i];
            if (!name.StartsWith("--", StringComparison.Ordinal) || name == "--")
            {
                parsed._words.Add(name);
                continue;
            }

            string? value = null;
            int equals = name.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0) (name, value) = (name[..equals], name[(equals + 1)..]);
            if (flags?.Contains(name) == true)
            {
                if (value is not null) throw new UsageException($"{name} takes no value; see --help");
                parsed._flags.Add(name);
                continue;
            }

            if (!options.Contains(name)) throw new UsageException($"unknown option '{name}'; see --help");
            value ??= ++i < words.Count ? words[i] : "";
            if (value.Length == 0 || value.StartsWith("--", StringComparison.Ordinal)) throw new UsageException($"{name} needs a value; see --help");
            if (!parsed._values.TryGetValue(name, out List<string>? given)) parsed._values[name] = given = [];
            given.Add(value);
        }

        return parsed;
    }

    public bool Has(string flag) => _flags.Contains(flag);

    /// <summary>The value of an option that may be given once.</summary>
    public string? Value(string option) => !_values.TryGetValue(option, out List<string>? given) ? null
        : given.Count == 1 ? given[0]
        : throw new UsageException($"{option} is given {given.Count} times; give it once");

    public IReadOnlyList<string> Values(string option) => _values.TryGetValue(option, out List<string>? given) ? given : [];

    /// <summary>The option's value read by <paramref name="read"/>, or the default where it is not given.</summary>
    public T Value<T>(string option, Func<string, string, T> read, T unlessGiven) => Value(option) is { } text ? read(option, text) : unlessGiven;

    /// <summary>The one word that the command needs.</summary>
    public string Single(string what) => _words.Count switch
    {
        1 => _words[0],
        0 => throw new UsageException($"{what} is missing; see --help"),
        _ => throw new UsageException($"'{_words[1]}' is one word too many; see --help"),
    };

    public void RefuseWords()
    {
        if (_words.Count > 0) throw new UsageException($"'{_words[0]}' is not understood; see --help");
    }

    /// <summary>Whether <c>--format json</c> is asked for.</summary>
    public bool WantsJson() => Value("--format") switch
    {
        null or "text" => false,
        "json" => true,
        { } other => throw new UsageException($"--format is '{other}'; use text or json"),
    };
}
