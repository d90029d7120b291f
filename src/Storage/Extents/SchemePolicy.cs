using System.Collections.Frozen;

namespace ObjectStore.Storage.Extents;

/// <summary>The schemes of one storage class.</summary>
/// <param name="Small">For parts of less than <paramref name="SmallBelowBytes"/>; copies.</param>
/// <param name="Large">For the others.</param>
/// <param name="SmallBelowBytes">More than 0.</param>
public sealed record ClassSchemes(Scheme Small, Scheme Large, int SmallBelowBytes = ClassSchemes.DefaultSmallBelowBytes)
{
    public const int DefaultSmallBelowBytes = 128 << 10;
}

/// <summary>Which scheme a new extent gets, by its storage class and length. Immutable. The classes that are not named are stored as STANDARD.</summary>
public sealed class SchemePolicy
{
    public const string Standard = "STANDARD";

    private readonly FrozenDictionary<string, ClassSchemes> _classes;

    /// <exception cref="ArgumentException">STANDARD is missing.</exception>
    public SchemePolicy(IEnumerable<KeyValuePair<string, ClassSchemes>> classes)
    {
        _classes = classes.ToFrozenDictionary(StringComparer.Ordinal);
        if (!_classes.ContainsKey(Standard))
            throw new ArgumentException("The class STANDARD has no schemes.", nameof(classes));
    }

    public static SchemePolicy Default { get; } = new(new Dictionary<string, ClassSchemes>
    {
        [Standard] = new(Scheme.Copies(3), new Scheme(6, 3)),
        ["STANDARD_IA"] = new(Scheme.Copies(3), new Scheme(10, 4)),
        ["GLACIER"] = new(Scheme.Copies(3), new Scheme(17, 3)),
        ["DEEP_ARCHIVE"] = new(Scheme.Copies(3), new Scheme(17, 3)),
    });

    public IReadOnlyDictionary<string, ClassSchemes> Classes => _classes;

    /// <summary>Every scheme that is asked for.</summary>
    public IEnumerable<Scheme> Schemes => _classes.Values.SelectMany(schemes => new[] { schemes.Small, schemes.Large }).Distinct();

    public ClassSchemes For(string storageClass) => _classes.TryGetValue(storageClass, out ClassSchemes? schemes) ? schemes : _classes[Standard];

    /// <summary>As configured; the store narrows it to the drives there are.</summary>
    public Scheme For(string storageClass, long lengthBytes)
    {
        ClassSchemes schemes = For(storageClass);
        return lengthBytes < schemes.SmallBelowBytes ? schemes.Small : schemes.Large;
    }
}
