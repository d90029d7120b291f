using System.Globalization;

namespace ObjectStore.LoadGenerator;

/// <summary>Parsers of option values. Each throws ArgumentException with the option's name.</summary>
public static class Text
{
    private static readonly (string Suffix, long Factor)[] Units =
    [
        ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("TiB", 1L << 40), ("kB", 1000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("B", 1),
    ];

    /// <summary>"4096", "4KiB", "64MiB", "1GB".</summary>
    public static long ParseSize(string option, string text)
    {
        foreach ((string suffix, long factor) in Units)
        {
            if (text.EndsWith(suffix, StringComparison.OrdinalIgnoreCase))
            {
                return checked(ParseNumber(option, text[..^suffix.Length].Trim(), 0, long.MaxValue / factor) * factor);
            }
        }

        return ParseNumber(option, text, 0, long.MaxValue);
    }

    /// <summary>"500ms", "10s", "2m", "1h"; a bare number is seconds.</summary>
    public static TimeSpan ParseDuration(string option, string text)
    {
        (string suffix, double seconds) = text switch
        {
            _ when text.EndsWith("ms", StringComparison.Ordinal) => ("ms", 0.001),
            _ when text.EndsWith('s') => ("s", 1),
            _ when text.EndsWith('m') => ("m", 60),
            _ when text.EndsWith('h') => ("h", 3600),
            _ => ("", 1.0),
        };
        if (double.TryParse(text[..^suffix.Length], NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value >= 0)
        {
            return TimeSpan.FromSeconds(value * seconds);
        }

        throw new ArgumentException($"{option} is '{text}'; it must be a duration such as 10s, 500ms or 2m.");
    }

    /// <summary>A whole number from <paramref name="min"/> to <paramref name="max"/>.</summary>
    public static long ParseNumber(string option, string text, long min, long max)
    {
        if (long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long value) && value >= min && value <= max) return value;
        throw new ArgumentException($"{option} is '{text}'; it must be a whole number from {min} to {max}.");
    }
}
