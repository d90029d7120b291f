using System.Globalization;
using Orleans;

namespace ObjectStore.Grains;

/// <summary>
/// Names one version of one object, uniquely in the whole store. The gateway makes it before the first byte is stored; it is
/// written into every fragment, and it is the idempotency token of the commit: a retry after a lost answer finds its own id.
/// The upper 48 bits are the Unix time in milliseconds, the rest is random. <c>default</c> stands for "no version".
/// </summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.VersionId")]
public readonly record struct VersionId([property: Id(0)] ulong High, [property: Id(1)] ulong Low)
{
    /// <summary>"No version": what a key that has never been written, or whose last version was removed, holds.</summary>
    public static VersionId None => default;

    /// <summary>True for <see cref="None"/>.</summary>
    public bool IsNone => High == 0 && Low == 0;

    /// <summary>Makes an id from a time and 80 random bits.</summary>
    /// <param name="time">The time of the request; its Unix milliseconds become the upper 48 bits.</param>
    /// <param name="random">Random bits: 16 of the first and all of the second are used.</param>
    public static VersionId Create(DateTimeOffset time, (ulong High, ulong Low) random) =>
        new(((ulong)time.ToUnixTimeMilliseconds() << 16) | (random.High & 0xFFFF), random.Low | 1);

    /// <summary>32 lower-case hexadecimal digits; the form S3 clients see, and the form of an upload id.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{High:x16}{Low:x16}");

    /// <summary>Parses what <see cref="ToString"/> writes; anything else is not a version id.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out VersionId id)
    {
        id = default;
        if (text.Length != 32
            || text.IndexOfAnyExcept("0123456789abcdef") >= 0
            || !ulong.TryParse(text[..16], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong high)
            || !ulong.TryParse(text[16..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong low))
        {
            return false;
        }

        id = new VersionId(high, low);
        return !id.IsNone;
    }
}
