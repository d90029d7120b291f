using System.Globalization;

namespace ObjectStore.Admin.CommandLine;

/// <summary>Reads and writes amounts with units. Each reader names the option and the remedy where the text cannot be used.</summary>
internal static class Quantities
{
    private static readonly (string Suffix, double Factor)[] ByteUnits =
    [
        ("PiB", 1L << 50), ("TiB", 1L << 40), ("GiB", 1L << 30), ("MiB", 1L << 20), ("KiB", 1L << 10),
        ("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3), ("B", 1), ("", 1),
    ];

    private static readonly (string Suffix, double Seconds)[] TimeUnits = [("ms", 1e-3), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1), ("", 1)];

    /// <summary>Bytes: 16TB is decimal as drives are sold, 16TiB binary.</summary>
    public static double Bytes(string option, string text)
    {
        foreach ((string suffix, double factor) in ByteUnits)
        {
            if (!text.EndsWith(suffix, StringComparison.OrdinalIgnoreCase)) continue;
            if (TryNumber(text[..^suffix.Length], out double number) && number > 0 && number * factor <= 1e30) return number * factor;
            break;
        }

        throw new UsageException($"{option} is '{text}'; use a number of bytes above 0, or one with KB, MB, GB, TB, KiB, MiB, GiB or TiB");
    }

    /// <summary>Bytes in a second, with or without a trailing "/s".</summary>
    public static double BytesPerSecond(string option, string text)
    {
        try
        {
            return Bytes(option, text.EndsWith("/s", StringComparison.OrdinalIgnoreCase) ? text[..^2] : text);
        }
        catch (UsageException)
        {
            throw new UsageException($"{option} is '{text}'; use bytes a second above 0, for example 500MB");
        }
    }

    /// <summary>A time above zero: seconds, or with ms, s, m, h or d.</summary>
    public static TimeSpan Duration(string option, string text)
    {
        foreach ((string suffix, double factor) in TimeUnits)
        {
            if (!text.EndsWith(suffix, StringComparison.OrdinalIgnoreCase)) continue;
            if (TryNumber(text[..^suffix.Length], out double number) && number * factor is > 0 and <= 3.2e9) return TimeSpan.FromSeconds(number * factor);
            break;
        }

        throw new UsageException($"{option} is '{text}'; use a time above 0 such as 90s, 15m, 8h or 6.5d");
    }

    /// <summary>A rate in a year: 0.015 or 1.5%.</summary>
    public static double AnnualRate(string option, string text)
    {
        bool percent = text.EndsWith('%');
        if (TryNumber(percent ? text[..^1] : text, out double rate) && (percent ? rate / 100 : rate) is > 0 and <= 1000 and var found) return found;
        throw new UsageException($"{option} is '{text}'; use failures in a year above 0, for example 0.015 or 1.5%");
    }

    /// <summary>As <see cref="AnnualRate"/>, where 0 is allowed too.</summary>
    public static double AnnualRateOrZero(string option, string text) => text is "0" or "0%" ? 0 : AnnualRate(option, text);

    /// <summary>A number above 0 and below 1.</summary>
    public static double Probability(string option, string text) => TryNumber(text, out double value) && value is > 0 and < 1
        ? value
        : throw new UsageException($"{option} is '{text}'; use a number above 0 and below 1, for example 1e-15");

    public static int Count(string option, string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count is >= 1 and <= 10_000_000
        ? count
        : throw new UsageException($"{option} is '{text}'; use a whole number of 1 or more");

    /// <summary>An http or https URL without a path.</summary>
    public static Uri Endpoint(string option, string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out Uri? uri) && uri.Scheme is "http" or "https" && uri.AbsolutePath == "/" && uri.Query.Length == 0 && uri.UserInfo.Length == 0
            ? uri
            : throw new UsageException($"{option} is '{text}'; use http://HOST:PORT, for example http://127.0.0.1:9000");

    /// <summary>Three digits and a decimal unit: 16 TB, 1.05 GB.</summary>
    public static string Show(double bytes)
    {
        foreach ((string suffix, double factor) in ByteUnits)
        {
            if (suffix.EndsWith("iB", StringComparison.Ordinal) || suffix.Length == 0) continue;
            if (bytes >= factor) return string.Create(CultureInfo.InvariantCulture, $"{bytes / factor:0.##} {suffix}");
        }

        return "0 B";
    }

    public static string Show(TimeSpan time) => time.TotalSeconds switch
    {
        >= 2 * 86400 => string.Create(CultureInfo.InvariantCulture, $"{time.TotalDays:0.#} d"),
        >= 2 * 3600 => string.Create(CultureInfo.InvariantCulture, $"{time.TotalHours:0.#} h"),
        >= 120 => string.Create(CultureInfo.InvariantCulture, $"{time.TotalMinutes:0.#} min"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.##} s"),
    };

    private static bool TryNumber(string text, out double number) =>
        double.TryParse(text, NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out number) && double.IsFinite(number);
}
