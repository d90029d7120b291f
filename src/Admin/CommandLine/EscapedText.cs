using System.Buffers;
using System.Globalization;
using System.Text;

namespace ObjectStore.Admin.CommandLine;

/// <summary>
/// Text of any bytes, safe to print: printable characters as they are, a backslash twice, and each byte that is neither as \xNN. An object's key may hold anything, also what a terminal would
/// obey.
/// </summary>
internal static class EscapedText
{
    public static string Of(ReadOnlySpan<byte> utf8)
    {
        StringBuilder text = new(utf8.Length);
        while (utf8.Length > 0)
        {
            OperationStatus status = Rune.DecodeFromUtf8(utf8, out Rune rune, out int bytes);
            if (status != OperationStatus.Done || !IsPrintable(rune))
            {
                foreach (byte value in utf8[..bytes]) text.Append(CultureInfo.InvariantCulture, $"\\x{value:x2}");
            }
            else if (rune.Value == '\\')
            {
                text.Append(@"\\");
            }
            else
            {
                text.Append(rune.ToString());
            }

            utf8 = utf8[bytes..];
        }

        return text.ToString();
    }

    private static bool IsPrintable(Rune rune) => Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate
        or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
}
