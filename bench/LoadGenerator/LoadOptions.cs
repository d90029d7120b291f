using System.Globalization;
using ObjectStore.LoadGenerator.Content;
using ObjectStore.LoadGenerator.Http;

namespace ObjectStore.LoadGenerator;

/// <summary>What the generator does.</summary>
public enum LoadMode
{
    /// <summary>PUT of objects.</summary>
    Put,

    /// <summary>GET of whole objects.</summary>
    Get,

    /// <summary>GET of ranges.</summary>
    Range,

    /// <summary>HEAD of objects.</summary>
    Head,

    /// <summary>ListObjectsV2, page after page.</summary>
    List,

    /// <summary>DELETE of objects, each once.</summary>
    Delete,

    /// <summary>45 % GET, 30 % HEAD, 15 % PUT, 10 % DELETE: the default mix of MinIO's warp.</summary>
    Mixed,

    /// <summary>Whole multipart uploads: create, parts, complete.</summary>
    Multipart,
}

/// <summary>How the body of a PUT is covered by the signature.</summary>
public enum PayloadSigning
{
    /// <summary>SHA-256 up to 1 MiB, unsigned above.</summary>
    Auto,

    /// <summary>Always SHA-256.</summary>
    Signed,

    /// <summary>Always UNSIGNED-PAYLOAD.</summary>
    Unsigned,
}

/// <summary>The command line.</summary>
public sealed record LoadOptions
{
    /// <summary>The text of --help.</summary>
    public const string Usage = """
        usage: ObjectStore.LoadGenerator MODE --endpoint http://127.0.0.1:PORT [options]
          MODE                put get range head list delete mixed multipart
          --endpoint URL      the server; loopback only, unless --allow-remote
          --access-key K      default: OBJECTSTORE_ACCESS_KEY or AWS_ACCESS_KEY_ID
          --secret-key S      default: OBJECTSTORE_SECRET_KEY or AWS_SECRET_ACCESS_KEY
          --region R          default us-east-1
          --bucket B          default load; created when absent
          --size N            bytes of an object: 4096, 4KiB, 64MiB … (default 4KiB)
          --connections N     default 32, at most 1024; a thread each
          --duration T        10s, 2m; default 10s where there is no --count
          --count N           operations in all; with --duration, whichever ends first
          --warmup T          not counted; default 0s
          --begin-file PATH   what comes before this file is there is warm-up too
          --prefix P          of the keys; default load/
          --keys N            how many keys (default 10000; put with --count: one per operation)
          --distinct N        distinct bodies (default 64); 0 = every key has its own. A body is hashed once, with 0 for every request
          --payload M         auto (default), signed, unsigned
          --verify [P]        compare what GET returns with what was put, in P percent of the answers (default 100)
          --receive M         copy (default) or discard: let the kernel throw large bodies away unread (MSG_TRUNC), no --verify
          --order O           random (default) or sequential choice of keys in get, range, head
          --max-keys N        of a list page; default 1000
          --range-size N      default 64KiB
          --part-size N       default 8MiB
          --seed N            default 1
          --no-preload        the objects are there from a run with the same prefix, size, keys, distinct and seed
          --preload-connections N   default: the larger of --connections and 32
          --keep-going        do not stop at 1000 errors
          --server-pid PID    reports that process's CPU seconds and memory (from /proc)
          --timeout T         of one send or receive; default 60s
          --label TEXT        copied to the output
        Writes one JSON line on stdout. Exit code 0: no errors. 1: errors or mismatches. 2: bad usage.
        """;

    /// <summary>The largest number of operations of one run.</summary>
    public const long MaxCount = 1_000_000_000;

    private static readonly TimeSpan MaxDuration = TimeSpan.FromHours(24);

    public required LoadMode Mode { get; init; }
    public required S3Endpoint Endpoint { get; init; }
    public required SigningIdentity Identity { get; init; }
    public string Bucket { get; init; } = "load";
    public long SizeBytes { get; init; } = 4096;
    public int Connections { get; init; } = 32;
    public TimeSpan Duration { get; init; } = TimeSpan.FromSeconds(10);
    public long Count { get; init; } = MaxCount;
    public TimeSpan Warmup { get; init; }
    public string? BeginFile { get; init; }
    public string Prefix { get; init; } = "load/";
    public long Keys { get; init; } = 10_000;
    public int Distinct { get; init; } = 64;
    public PayloadSigning Payload { get; init; }
    public double VerifyPercent { get; init; }
    public bool DiscardInKernel { get; init; }
    public bool Sequential { get; init; }
    public int MaxKeys { get; init; } = 1000;
    public int RangeBytes { get; init; } = 64 * 1024;
    public long PartBytes { get; init; } = 8 << 20;
    public ulong Seed { get; init; } = 1;
    public bool Preload { get; init; } = true;
    public int PreloadConnections { get; init; } = 32;
    public bool KeepGoing { get; init; }
    public int ServerProcessId { get; init; }
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(60);
    public string Label { get; init; } = "";

    /// <summary>True when PUT bodies carry their SHA-256.</summary>
    public bool SignsPayload => Payload == PayloadSigning.Signed || (Payload == PayloadSigning.Auto && SizeBytes <= 1 << 20);

    /// <summary>Which content the object with this number has.</summary>
    public ulong Identify(long number) => (ulong)(Distinct == 0 ? number : number % Distinct);

    /// <summary>Parses the command line. Throws ArgumentException with a message for the user.</summary>
    public static LoadOptions Parse(string[] arguments)
    {
        if (arguments.Length == 0 || !Enum.TryParse(arguments[0], ignoreCase: true, out LoadMode mode) || int.TryParse(arguments[0], out _))
        {
            throw new ArgumentException("The first argument must be one of put, get, range, head, list, delete, mixed, multipart.");
        }

        string? endpoint = null;
        bool allowRemote = false;
        bool hasCount = false;
        bool hasDuration = false;
        bool hasKeys = false;
        string? accessKey = Variable("OBJECTSTORE_ACCESS_KEY", "AWS_ACCESS_KEY_ID");
        string? secretKey = Variable("OBJECTSTORE_SECRET_KEY", "AWS_SECRET_ACCESS_KEY");
        string region = "us-east-1";
        int preloadConnections = 0;
        LoadOptions options = new() { Mode = mode, Endpoint = null!, Identity = null! };
        for (int i = 1; i < arguments.Length; i++)
        {
            string name = arguments[i];
            string Value() => ++i < arguments.Length ? arguments[i] : throw new ArgumentException($"{name} needs a value.");
            switch (name)
            {
                case "--endpoint": endpoint = Value(); break;
                case "--allow-remote": allowRemote = true; break;
                case "--access-key": accessKey = Value(); break;
                case "--secret-key": secretKey = Value(); break;
                case "--region": region = Value(); break;
                case "--bucket": options = options with { Bucket = Value() }; break;
                case "--size": options = options with { SizeBytes = Text.ParseSize(name, Value()) }; break;
                case "--connections": options = options with { Connections = (int)Text.ParseNumber(name, Value(), 1, 1024) }; break;
                case "--duration": options = options with { Duration = Text.ParseDuration(name, Value()) }; hasDuration = true; break;
                case "--count": options = options with { Count = Text.ParseNumber(name, Value(), 1, MaxCount) }; hasCount = true; break;
                case "--warmup": options = options with { Warmup = Text.ParseDuration(name, Value()) }; break;
                case "--begin-file": options = options with { BeginFile = Value() }; break;
                case "--prefix": options = options with { Prefix = Value() }; break;
                case "--keys": options = options with { Keys = Text.ParseNumber(name, Value(), 1, MaxCount) }; hasKeys = true; break;
                case "--distinct": options = options with { Distinct = (int)Text.ParseNumber(name, Value(), 0, int.MaxValue) }; break;
                case "--payload":
                    options = options with
                    {
                        Payload = Value() switch
                        {
                            "auto" => PayloadSigning.Auto,
                            "signed" => PayloadSigning.Signed,
                            "unsigned" => PayloadSigning.Unsigned,
                            string other => throw new ArgumentException($"--payload is '{other}'; it must be auto, signed or unsigned."),
                        },
                    };
                    break;
                case "--verify":
                    bool hasPercent = i + 1 < arguments.Length && !arguments[i + 1].StartsWith('-');
                    options = options with { VerifyPercent = hasPercent ? double.Parse(Value(), CultureInfo.InvariantCulture) : 100 };
                    break;
                case "--receive":
                    options = options with
                    {
                        DiscardInKernel = Value() switch
                        {
                            "copy" => false,
                            "discard" => true,
                            string other => throw new ArgumentException($"--receive is '{other}'; it must be copy or discard."),
                        },
                    };
                    break;
                case "--order": options = options with { Sequential = Value() == "sequential" }; break;
                case "--max-keys": options = options with { MaxKeys = (int)Text.ParseNumber(name, Value(), 1, 1000) }; break;
                case "--range-size": options = options with { RangeBytes = (int)Math.Min(Text.ParseSize(name, Value()), StampedContent.BlockBytes * 64L) }; break;
                case "--part-size": options = options with { PartBytes = Text.ParseSize(name, Value()) }; break;
                case "--seed": options = options with { Seed = (ulong)Text.ParseNumber(name, Value(), 0, long.MaxValue) }; break;
                case "--no-preload": options = options with { Preload = false }; break;
                case "--preload-connections": preloadConnections = (int)Text.ParseNumber(name, Value(), 1, 1024); break;
                case "--keep-going": options = options with { KeepGoing = true }; break;
                case "--server-pid": options = options with { ServerProcessId = (int)Text.ParseNumber(name, Value(), 1, int.MaxValue) }; break;
                case "--timeout": options = options with { Timeout = Text.ParseDuration(name, Value()) }; break;
                case "--label": options = options with { Label = Value() }; break;
                default: throw new ArgumentException($"Unknown option {name}.");
            }
        }

        if (endpoint is null) throw new ArgumentException("--endpoint is required.");
        if (string.IsNullOrEmpty(accessKey) || string.IsNullOrEmpty(secretKey))
        {
            throw new ArgumentException("No credentials: set OBJECTSTORE_ACCESS_KEY and OBJECTSTORE_SECRET_KEY, or give --access-key and --secret-key.");
        }

        if (options.Duration > MaxDuration) throw new ArgumentException("--duration must not exceed 24 h.");
        if (hasCount && !hasDuration) options = options with { Duration = MaxDuration };
        if (!hasKeys && hasCount && mode is LoadMode.Put or LoadMode.Delete or LoadMode.Multipart) options = options with { Keys = options.Count };
        if (mode == LoadMode.Delete) options = options with { Count = Math.Min(options.Count, options.Keys) };
        if (options.DiscardInKernel && options.VerifyPercent > 0) throw new ArgumentException("--verify needs --receive copy.");
        return options with
        {
            Endpoint = S3Endpoint.Parse(endpoint, allowRemote),
            Identity = new SigningIdentity(accessKey, secretKey, region),
            PreloadConnections = preloadConnections > 0 ? preloadConnections : Math.Max(options.Connections, 32),
        };
    }

    private static string? Variable(string first, string second) => Environment.GetEnvironmentVariable(first) ?? Environment.GetEnvironmentVariable(second);
}
