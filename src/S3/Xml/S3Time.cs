using System.Globalization;

namespace ObjectStore.S3.Xml;

/// <summary>The two forms in which S3 writes times: ISO 8601 in XML, and the HTTP date in headers. Always UTC.</summary>
public static class S3Time
{
    /// <summary>The length of <c>2026-11-21T05:06:07.000Z</c>.</summary>
    public const int Iso8601Length = 24;

    /// <summary>Writes <c>2026-11-21T05:06:07.000Z</c>, always <see cref="Iso8601Length"/> bytes.</summary>
    public static void FormatIso8601(DateTime utc, Span<byte> destination)
    {
        destination = destination[..Iso8601Length];
        utc.Deconstruct(out DateOnly date, out TimeOnly time);
        (int year, int month, int day) = date;
        int millisecondOfDay = (int)(time.Ticks / TimeSpan.TicksPerMillisecond);
        int secondOfDay = millisecondOfDay / 1000;
        Two(destination, 0, year / 100);
        Two(destination, 2, year % 100);
        destination[4] = (byte)'-';
        Two(destination, 5, month);
        destination[7] = (byte)'-';
        Two(destination, 8, day);
        destination[10] = (byte)'T';
        Two(destination, 11, secondOfDay / 3600);
        destination[13] = (byte)':';
        Two(destination, 14, secondOfDay / 60 % 60);
        destination[16] = (byte)':';
        Two(destination, 17, secondOfDay % 60);
        destination[19] = (byte)'.';
        int millisecond = millisecondOfDay % 1000;
        destination[20] = (byte)('0' + (millisecond / 100));
        Two(destination, 21, millisecond % 100);
        destination[23] = (byte)'Z';

        static void Two(Span<byte> destination, int at, int value)
        {
            destination[at] = (byte)('0' + (value / 10));
            destination[at + 1] = (byte)('0' + (value % 10));
        }
    }

    /// <summary>The ISO 8601 form as a string.</summary>
    public static string ToIso8601(DateTime utc) => utc.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    /// <summary>The HTTP date, <c>Sat, 21 Nov 2026 05:06:07 GMT</c>, for Last-Modified.</summary>
    public static string ToHttpDate(DateTime utc) => utc.ToString("r", CultureInfo.InvariantCulture);
}
