using System.Globalization;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Silo.Configuration;

/// <summary>A scheme that is not used as it is meant, for want of drives.</summary>
internal sealed record NarrowedScheme(string StorageClass, Scheme Meant, Scheme Used);

/// <summary>The schemes of storage classes: the defaults, and what --scheme says. A default becomes narrower where there are too few drives; what was asked for does not.</summary>
internal sealed class SchemeOptions
{
    // Those that S3 has for objects and that this store takes; the ones without schemes of their own are stored as STANDARD.
    private static readonly string[] Classes =
        [SchemePolicy.Standard, "STANDARD_IA", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR", "INTELLIGENT_TIERING", "ONEZONE_IA", "REDUCED_REDUNDANCY"];

    private const int MinSmallBelowBytes = 1 << 10;
    private const int MaxSmallBelowBytes = 1 << 20; // a block of copies, so that the end of a part of unknown length still decides

    private readonly Dictionary<string, ClassSchemes> _schemes = new(SchemePolicy.Default.Classes, StringComparer.Ordinal);
    private readonly SortedSet<string> _asked = new(StringComparer.Ordinal);

    /// <summary>As configured, before it is narrowed.</summary>
    public SchemePolicy Policy => _asked.Count == 0 ? SchemePolicy.Default : new SchemePolicy(_schemes);

    /// <summary>The classes that --scheme names.</summary>
    public IReadOnlyCollection<string> Asked => _asked;

    /// <summary>Takes one CLASS=SMALL/LARGE or CLASS=SMALL/LARGE@SIZE.</summary>
    /// <exception cref="StartException">It cannot be read, or names a class for the second time.</exception>
    public void Add(string text)
    {
        StartException Refuse(string remedy) => new($"--scheme is '{text}'; {remedy}");
        int equals = text.IndexOf('=', StringComparison.Ordinal), slash = text.IndexOf('/', StringComparison.Ordinal);
        if (equals < 1 || slash < equals) throw Refuse("use CLASS=COPIES/DATA+PARITY, for example STANDARD=3/6+3, or CLASS=COPIES/DATA+PARITY@SIZE");
        int at = text.IndexOf('@', slash), end = at < 0 ? text.Length : at;
        string storageClass = text[..equals];
        if (!Classes.Contains(storageClass, StringComparer.Ordinal)) throw Refuse($"the class is one of {string.Join(", ", Classes)}");
        if (!TryParse(text[(equals + 1)..slash], out Scheme small) || !small.IsReplicated) throw Refuse($"small parts are stored as copies: write 1 to {Scheme.MaxShards} before the '/'");
        if (!TryParse(text[(slash + 1)..end], out Scheme large)) throw Refuse($"write copies (3) or data and parity shards (6+3), at most {Scheme.MaxShards} in all, behind the '/'");
        long smallBelow = at < 0 ? ClassSchemes.DefaultSmallBelowBytes : SiloOptions.TryParseSize(text[(at + 1)..]) ?? 0;
        if (smallBelow is < MinSmallBelowBytes or > MaxSmallBelowBytes || smallBelow % MinSmallBelowBytes != 0) throw Refuse("write the size from which parts are large behind the '@', whole KiB from 1KiB to 1MiB");
        if (!_asked.Add(storageClass)) throw Refuse("the class has schemes already; name each class once");
        _schemes[storageClass] = new ClassSchemes(small, large, (int)smallBelow);
    }

    /// <summary>Which defaults are narrowed on so many drives; to be said loudly.</summary>
    /// <exception cref="StartException">A scheme that was asked for needs more drives.</exception>
    public IReadOnlyList<NarrowedScheme> Place(int drives)
    {
        List<NarrowedScheme> narrowed = [];
        foreach ((string storageClass, ClassSchemes schemes) in Policy.Classes.OrderBy(each => each.Key, StringComparer.Ordinal))
        {
            foreach (Scheme scheme in new[] { schemes.Small, schemes.Large }.Where(scheme => scheme.Width > drives))
            {
                if (_asked.Contains(storageClass))
                    throw new StartException($"--scheme asks for {scheme} for {storageClass}, which needs {scheme.Width} drives, and there {(drives == 1 ? "is 1" : $"are {drives}")}; add drives or ask for a narrower one");
                narrowed.Add(new NarrowedScheme(storageClass, scheme, scheme.Narrow(Math.Max(1, drives))));
            }
        }

        return narrowed;
    }

    /// <summary>Reads "3" as copies and "6+3" as data and parity.</summary>
    private static bool TryParse(string text, out Scheme scheme)
    {
        scheme = Scheme.SingleCopy;
        string[] numbers = text.Split('+');
        if (numbers.Length > 2 || !Array.TrueForAll(numbers, number => int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out _))) return false;
        int first = int.Parse(numbers[0], CultureInfo.InvariantCulture), second = numbers.Length == 2 ? int.Parse(numbers[1], CultureInfo.InvariantCulture) : 0;
        if (first is < 1 or > Scheme.MaxShards || second > Scheme.MaxShards - first || (numbers.Length == 2 && second < 1)) return false;
        scheme = numbers.Length == 2 ? new Scheme(first, second) : Scheme.Copies(first);
        return true;
    }
}
