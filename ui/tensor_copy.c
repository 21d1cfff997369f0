/* Copying from the tensor view. */
#include "ui/numpy.h"
#include "ui/state.h"
#include "ui/tensor_parts.h"

#include <string.h>

void tensor_copy(struct ui *ui, const struct tensor_picture *tensor, struct tensor_view *view,
                 const char *what)
{
    struct status status = STATUS_NONE;
    struct text text = {0};
    bool number = !what[0] || strcmp(what, "value") == 0;
    bool on_its_way = ui->stale[PICTURE_TENSOR] || ui->asked[PICTURE_TENSOR] > 0;
    view->copy_waits = false;
    if (tensor && number && on_its_way && ui_is_open(ui, LAYOUT_TENSOR)) {
        view->copy_waits = true;
        ui_say(ui, THEME_DIM, "copied when the number is there");
        return;
    }
    bool good = tensor != NULL;
    if (!good)
        status_fail(&status, STATUS_NOT_FOUND, "no tensor is shown: there is nothing to copy");
    else if (number)
        good =
            numpy_number(tensor, view->side, view->cursor_row, view->cursor_column, &text, &status);
    else if (strcmp(what, "numpy") == 0)
        good = numpy_expression(tensor, view->side, &text, &status);
    else
        good = status_fail(&status, STATUS_INVALID, "copy value, or copy numpy");
    if (good) {
        bool taken = term_copy(text.data);
        ui_log(ui, LOG_OUTPUT, text.data);
        ui_say(ui, THEME_NORMAL, "%s%s", taken ? "copied: " : "", text.data);
    } else {
        ui_say(ui, THEME_ERROR, "%s", status.text);
    }
    text_free(&text);
}
