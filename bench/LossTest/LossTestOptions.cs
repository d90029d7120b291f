using ObjectStore.LoadGenerator;

namespace ObjectStore.LossTest;

/// <summary>The command line.</summary>
public sealed record LossTestOptions
{
    /// <summary>The text of --help.</summary>
    public const string Usage = """
        usage: ObjectStore.LossTest [options]
          --server PATH       the server's dll or executable (default: ObjectStore.Silo.dll built beside this program)
          --rounds N          default 60
          --objects N         objects that stay, of mixed sizes up to 4 MiB; default 10000
          --drives N          default 12
          --lose N            drives lost at once; default 3
          --hosts N           put the drives on N hosts and lose whole hosts, as many as make --lose drives; default 0: a host for each drive, single drives are lost
          --readers N         clients that read all the time; default 2
          --writers N         clients that write all the time; default 2
          --repair-limit T    the longest that repair may take; default 300s
          --seed N            default: from the clock; printed
          --data DIR          default: a new folder under the temporary folder
          --keep              keep the data afterwards (always kept on a failure)
        Objects under 128 KiB are stored as one copy more than drives are lost, the others as 6 data shards and as much parity.
        Each round, under load: lose drives (emptied, removed or damaged all over), read everything, wait for repair, lose as many others, read everything;
        then new drives take the places of the lost ones and are filled. One JSON line on stdout. Exit code 0: every read was right. 1: not. 2: bad usage.
        """;

    public string? Server { get; init; }
    public int Rounds { get; init; } = 60;
    public int Objects { get; init; } = 10_000;
    public int Drives { get; init; } = 12;
    public int Lose { get; init; } = 3;
    public int Hosts { get; init; }
    public int Readers { get; init; } = 2;
    public int Writers { get; init; } = 2;
    public TimeSpan RepairLimit { get; init; } = TimeSpan.FromSeconds(300);
    public ulong Seed { get; init; } = (ulong)DateTime.UtcNow.Ticks / 10_000 % 1_000_000_000;
    public string? Data { get; init; }
    public bool Keep { get; init; }

    /// <summary>Parses the command line. Throws ArgumentException with a message for the user.</summary>
    public static LossTestOptions Parse(string[] arguments)
    {
        LossTestOptions options = new();
        for (int i = 0; i < arguments.Length; i++)
        {
            string name = arguments[i];
            string Value() => ++i < arguments.Length ? arguments[i] : throw new ArgumentException($"{name} needs a value.");
            int Number(int least, int most) => (int)Text.ParseNumber(name, Value(), least, most);
            options = name switch
            {
                "--server" => options with { Server = Value() },
                "--rounds" => options with { Rounds = Number(1, 100_000) },
                "--objects" => options with { Objects = Number(1, 10_000_000) },
                "--drives" => options with { Drives = Number(1, 256) },
                "--lose" => options with { Lose = Number(1, 64) },
                "--hosts" => options with { Hosts = Number(0, 256) },
                "--readers" => options with { Readers = Number(0, 256) },
                "--writers" => options with { Writers = Number(0, 256) },
                "--repair-limit" => options with { RepairLimit = Text.ParseDuration(name, Value()) },
                "--seed" => options with { Seed = (ulong)Text.ParseNumber(name, Value(), 0, long.MaxValue) },
                "--data" => options with { Data = Value() },
                "--keep" => options with { Keep = true },
                _ => throw new ArgumentException($"Unknown option {name}."),
            };
        }

        if (options.Drives <= 2 * options.Lose) throw new ArgumentException("--drives must be more than twice --lose: two losses follow one another.");
        if (options.Hosts > 0 && (options.Drives % options.Hosts != 0 || options.Lose % (options.Drives / options.Hosts) != 0))
            throw new ArgumentException("--hosts must divide --drives, and --lose must be whole hosts.");
        return options;
    }
}
